//! Files of the Hugging Face hub.

use effyolo_config::HubFile;

/// Another hub, or a mirror of it.
const VARIABLE: &str = "HF_ENDPOINT";
const ENDPOINT: &str = "https://huggingface.co";

fn endpoint() -> String {
    let variable = std::env::var(VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    variable.map_or(ENDPOINT.into(), |endpoint| endpoint.trim_end_matches('/').into())
}

/// Where a browser gets the file.
pub(super) fn url(HubFile { repository, file, revision }: &HubFile) -> String {
    format!("{}/{repository}/resolve/{revision}/{file}", endpoint())
}

#[cfg(feature = "hub")]
pub(super) use client::download;

#[cfg(feature = "hub")]
mod client {
    use super::url;
    use crate::weights_folder::sha256;
    use anyhow::{Context, Result, bail, ensure};
    use effyolo_config::HubFile;
    use indicatif::{ProgressBar, ProgressStyle};
    use std::fs::File;
    use std::io::{IsTerminal, Read};
    use std::path::Path;
    use std::time::Duration;
    use ureq::http::Response;
    use ureq::{Agent, Body};

    /// A file's address leads to a store elsewhere; no honest hub needs more steps.
    const MAX_STEPS: usize = 8;
    const CONNECT: Duration = Duration::from_secs(30);
    const ANSWER: Duration = Duration::from_secs(60);
    const TRANSFER: Duration = Duration::from_secs(3600);

    /// What the hub says of a file before it sends one elsewhere for it.
    #[derive(Default)]
    struct Announced {
        commit: Option<String>,
        /// The SHA-256 of a large file.
        tag: Option<String>,
        size: Option<u64>,
    }

    /// Downloads a file over `target`, and gives the commit that it is of.
    ///
    /// # Errors
    /// When the hub is not reached or does not have the file, or what arrives is not what it announced.
    pub(in super::super) fn download(hub: &HubFile, target: &Path) -> Result<String> {
        let mut announced = Announced::default();
        let response = request(&url(hub), &mut announced)?;
        receive(response, &announced, target)?;
        Ok(announced.commit.unwrap_or_else(|| hub.revision.clone()))
    }

    /// Follows redirections by itself: what is said of a file is said on the way.
    fn request(url: &str, announced: &mut Announced) -> Result<Response<Body>> {
        let agent: Agent = Agent::config_builder()
            .user_agent(concat!("effyolo/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(TRANSFER))
            .build()
            .into();
        let mut url = url.to_string();
        for _ in 0..MAX_STEPS {
            let response = agent.get(&url).call()?;
            announced.note(&response);
            match response.status().as_u16() {
                200 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => url = next(&url, header(&response, "location"))?,
                404 => bail!("the hub has no such file (HTTP status 404)"),
                status => bail!("expected the file, got HTTP status {status}"),
            }
        }
        bail!("redirected more than {MAX_STEPS} times")
    }

    fn header(response: &Response<Body>, name: &str) -> Option<String> {
        response.headers().get(name)?.to_str().ok().map(str::to_string)
    }

    /// Where a redirection leads.
    fn next(url: &str, location: Option<String>) -> Result<String> {
        let location = location.context("redirected to nowhere")?;
        let next = match location.starts_with('/') {
            true => {
                let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                format!("{host}{location}")
            }
            false => location,
        };
        let is_safe = next.starts_with("https://") || !url.starts_with("https://");
        ensure!(is_safe, "redirected to {next:?}, which is not encrypted");
        Ok(next)
    }

    impl Announced {
        /// What is said first counts: the store elsewhere has tags of its own.
        fn note(&mut self, response: &Response<Body>) {
            let get = |name: &str| header(response, name);
            self.commit = self.commit.take().or_else(|| get("x-repo-commit"));
            let tag = || get("x-linked-etag").map(|tag| tag.trim_matches('"').to_lowercase());
            self.tag = self.tag.take().or_else(tag);
            let size = || get("x-linked-size").and_then(|size| size.parse().ok());
            self.size = self.size.take().or_else(size);
        }
    }

    fn receive(response: Response<Body>, announced: &Announced, target: &Path) -> Result<()> {
        let size = announced.size.or_else(|| response.body().content_length());
        let size = size.context("the hub does not say how large the file is")?;
        let bar = bar(size);
        // One byte more shows that there is more.
        let mut body = bar.wrap_read(response.into_body().into_reader().take(size.saturating_add(1)));
        let mut file = File::create(target).with_context(|| format!("writing {}", target.display()))?;
        let got = std::io::copy(&mut body, &mut file).context("the transfer was cut off")?;
        bar.finish_and_clear();
        ensure!(got == size, "expected {size} bytes, got {got}; the transfer was cut off");
        let Some(tag) = announced.tag.as_ref().filter(|tag| tag.len() == 64) else { return Ok(()) };
        let got = sha256(target)?;
        ensure!(got == *tag, "the hub says sha256 {tag}, what arrived has {got}");
        Ok(())
    }

    /// A bar on a terminal, nothing elsewhere.
    fn bar(size: u64) -> ProgressBar {
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style =
            ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
                .expect("a template that was tried");
        ProgressBar::new(size).with_style(style)
    }

    #[cfg(test)]
    mod tests {
        use super::next;

        #[test]
        fn a_redirection_stays_encrypted() {
            let page = "https://hub/a/resolve/main/b";
            let next = |to: &str| next(page, Some(to.into()));
            assert_eq!(next("/c/d").unwrap(), "https://hub/c/d");
            assert_eq!(next("https://store/e?f=/g").unwrap(), "https://store/e?f=/g");
            assert!(next("http://store/e").is_err() && next("ftp://store/e").is_err());
        }
    }
}

/// In a program that was built without the feature `hub`.
#[cfg(not(feature = "hub"))]
pub(super) fn download(_: &HubFile, _: &std::path::Path) -> anyhow::Result<String> {
    anyhow::bail!("this program was built without the feature `hub`, so it downloads nothing")
}
