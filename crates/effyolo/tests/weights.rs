//! `effyolo weights` against a hub on this machine, which answers as the Hugging Face hub does for large files: the file's
//! address leads elsewhere, with the checksum as a tag.
#![cfg(feature = "hub")]

mod support;

use net_formats::safetensors_file::{self, ArrayRef};
use net_formats::{Averages, WeightsInfo};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use support::write_data;
use weight_sources::{Names, Variant};

const NAME: &str = "efficientnet-lite0-ra";
const FILE: &str = "efficientnet_lite0_ra.safetensors";
const PAGE: &str = "/timm/efficientnet_lite0.ra_in1k/resolve/main/model.safetensors";
const COMMIT: &str = "1111111111111111111111111111111111111111";

/// What the hub has.
#[derive(Clone)]
struct Stock {
    bytes: Arc<Vec<u8>>,
    tag: String,
    /// Bytes of a transfer after which the connection ends, or nothing more comes.
    cut_at: usize,
    then: AfterCut,
}

impl Stock {
    fn of(bytes: Vec<u8>) -> Self {
        Stock { tag: sum(&bytes), bytes: Arc::new(bytes), cut_at: usize::MAX, then: AfterCut::End }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum AfterCut {
    End,
    Wait,
}

struct Hub {
    address: String,
    stock: Arc<Mutex<Option<Stock>>>,
    /// Transfers that were begun.
    downloads: Arc<Mutex<usize>>,
}

impl Hub {
    fn start(stock: Option<Stock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub =
            Hub { address: address.clone(), stock: Arc::new(Mutex::new(stock)), downloads: Arc::default() };
        let (stock, downloads) = (hub.stock.clone(), hub.downloads.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                // A client that went away is its own affair.
                let _ = answer(connection.unwrap(), &address, stock.lock().unwrap().as_ref(), &downloads);
            }
        });
        hub
    }

    fn put(&self, stock: Option<Stock>) {
        *self.stock.lock().unwrap() = stock;
    }

    fn downloads(&self) -> usize {
        *self.downloads.lock().unwrap()
    }
}

fn answer(
    mut stream: TcpStream,
    address: &str,
    stock: Option<&Stock>,
    downloads: &Mutex<usize>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().expect("a request")?;
    let target = request.split(' ').nth(1).expect("a target").to_string();
    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    let Some(stock) = stock.filter(|_| [PAGE, "/blob"].contains(&target.as_str())) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if target == PAGE {
        let (tag, size) = (&stock.tag, stock.bytes.len());
        let reply = format!(
            "HTTP/1.1 302 Found\r\nLocation: {address}/blob\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{tag}\"\r\n\
             X-Linked-Size: {size}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return stream.write_all(reply.as_bytes());
    }
    *downloads.lock().unwrap() += 1;
    let all = stock.bytes.len();
    let reply =
        format!("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: {all}\r\nConnection: close\r\n\r\n");
    stream.write_all(reply.as_bytes())?;
    stream.write_all(&stock.bytes[..stock.cut_at.min(all)])?;
    if stock.then == AfterCut::Wait {
        // Ends when the client goes away.
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of timm's names for a variant, with values by the rule of the reference files.
fn published(variant: &str, gain: f64) -> Vec<u8> {
    let timm = Names::all().find(|names| names.name() == "timm").unwrap();
    let map = Variant::named(variant, None).unwrap().map(timm, 1000).unwrap();
    let values: Vec<Vec<f32>> = map
        .iter()
        .map(|weight| test_support::rule_weight("", gain, &weight.file_name, &weight.dims))
        .collect();
    let arrays: BTreeMap<String, ArrayRef<'_>> = map
        .iter()
        .zip(&values)
        .map(|(weight, values)| (weight.file_name.clone(), ArrayRef { dims: &weight.dims, values }))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    safetensors_file::write(file.path(), &arrays, None).unwrap();
    fs::read(file.path()).unwrap()
}

/// A command with its own folder of weights, below the working folder.
fn effyolo(folder: &Path, hub: &Hub, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_effyolo"))
        .args(arguments)
        .current_dir(folder)
        .env("HF_ENDPOINT", &hub.address)
        .env("EFFYOLO_WEIGHTS", folder.join("w"))
        .output()
        .unwrap()
}

fn succeed(folder: &Path, hub: &Hub, arguments: &[&str]) -> String {
    let output = effyolo(folder, hub, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "effyolo {}: {errors}", arguments.join(" "));
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

fn fail(folder: &Path, hub: &Hub, arguments: &[&str]) -> String {
    let output = effyolo(folder, hub, arguments);
    assert_eq!(output.status.code(), Some(1), "effyolo {}", arguments.join(" "));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("w")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into()).collect()
}

#[test]
fn weights_are_fetched_once_and_known_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = published("lite0", 2.0);
    let hub = Hub::start(Some(Stock::of(bytes.clone())));
    let said = succeed(folder, &hub, &["weights", "fetch", NAME]);
    assert!(said.contains(FILE) && said.contains("Apache-2.0"), "{said}");
    let path = folder.join("w").join(FILE);
    let archive = net_formats::load(&path, Averages::Prefer).unwrap();
    let info = WeightsInfo::from_metadata(&archive.metadata[WeightsInfo::METADATA_KEY]).unwrap();
    assert_eq!((info.variant.as_str(), info.classes, info.bn_eps), ("lite0", Some(1000), 1e-5));
    assert_eq!((info.padding.name(), info.normalization.name()), ("symmetric", "imagenet"));
    assert_eq!(archive.arrays, net_formats::read(&bytes, Averages::Prefer).unwrap().arrays);
    let lock = fs::read_to_string(folder.join("w/checksums.yaml")).unwrap();
    for known in [sum(&bytes), sum(&fs::read(&path).unwrap()), COMMIT.into()] {
        assert!(lock.contains(&known), "{lock}");
    }
    assert_eq!((hub.downloads(), files(folder).len()), (1, 2));

    assert!(succeed(folder, &hub, &["weights", "fetch", NAME]).contains("unchanged"));
    assert!(succeed(folder, &hub, &["weights", "verify"]).contains("verified"));
    let listed = effyolo(folder, &hub, &["weights", "list", "--json", "-"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let row = listed.as_array().unwrap().iter().find(|row| row["name"] == NAME).unwrap();
    assert_eq!(
        (&row["state"], &row["repository"]),
        (&"verified".into(), &"timm/efficientnet_lite0.ra_in1k".into())
    );
    assert_eq!(hub.downloads(), 1, "a file that is there is not downloaded again");

    fs::remove_file(&path).unwrap();
    let changed = published("lite0", 3.0);
    hub.put(Some(Stock::of(changed.clone())));
    let error = fail(folder, &hub, &["weights", "fetch", NAME]);
    assert!(error.contains(&sum(&bytes)) && error.contains(&sum(&changed)), "{error}");
    assert_eq!(files(folder), [Path::new("checksums.yaml")]);
    assert!(fail(folder, &hub, &["weights", "verify"]).contains("absent"));

    hub.put(Some(Stock::of(bytes)));
    succeed(folder, &hub, &["weights", "fetch", NAME]);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, &damaged).unwrap();
    for command in
        [&["weights", "verify"][..], &["weights", "fetch", NAME], &["val", "--weights", NAME, "--data", "x"]]
    {
        let error = fail(folder, &hub, command);
        assert!(error.contains(&sum(&whole)) && error.contains(&sum(&damaged)), "{error}");
    }
}

#[test]
fn a_hub_that_fails_leaves_nothing_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = Stock::of(published("lite0", 2.0));
    let deeper = Stock::of(published("lite1", 2.0));
    let text = Stock::of(b"<!doctype html>".to_vec());
    let cases = [
        (None, "404"),
        (Some(Stock { cut_at: 1 << 20, ..good.clone() }), "cut off"),
        (Some(Stock { tag: sum(b""), ..good.clone() }), "the hub says sha256"),
        (Some(deeper), "another variant"),
        (Some(text), "expected weights"),
    ];
    let hub = Hub::start(None);
    for (stock, words) in cases {
        hub.put(stock);
        let error = fail(folder, &hub, &["weights", "fetch", NAME]);
        assert!(error.contains(words), "{words}: {error}");
        assert!(files(folder).is_empty(), "{words}: {:?}", files(folder));
    }

    // Nobody listens at a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Hub { address: format!("http://{port}"), ..hub };
    let error = fail(folder, &gone, &["weights", "fetch", NAME]);
    assert!(error.contains(&format!("{}{PAGE}", gone.address)) && error.contains("--from"), "{error}");
    fs::write(folder.join("model.safetensors"), &*good.bytes).unwrap();
    let said = succeed(folder, &gone, &["weights", "fetch", NAME, "--from", "model.safetensors"]);
    assert!(said.contains(FILE), "{said}");
    assert!(succeed(folder, &gone, &["weights", "list"]).contains("verified"));
    // TensorFlow's weights of the same network, as the name of the file says.
    fs::rename(folder.join("model.safetensors"), folder.join("tf_efficientnet_lite0.safetensors")).unwrap();
    fs::remove_dir_all(folder.join("w")).unwrap();
    let error =
        fail(folder, &gone, &["weights", "fetch", NAME, "--from", "tf_efficientnet_lite0.safetensors"]);
    assert!(error.contains("padding symmetric") && error.contains("padding same"), "{error}");
}

#[test]
fn training_starts_from_weights_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let model = support::MODEL.replace(", width: 0.5, depth: 0.5", "").replace("epochs: 2", "epochs: 1");
    fs::write(folder.join("model.yaml"), model).unwrap();
    let hub = Hub::start(Some(Stock::of(published("lite0", 2.0))));
    let train = ["train", "--model", "model.yaml", "--data", "data.yaml", "--weights", NAME];
    let error = fail(folder, &hub, &train);
    assert!(error.contains(&format!("effyolo weights fetch {NAME}")), "{error}");
    let error = fail(folder, &hub, &["val", "--weights", NAME, "--data", "data.yaml"]);
    assert!(error.contains(&format!("effyolo weights fetch {NAME}")), "{error}");
    let error = fail(folder, &hub, &["val", "--weights", "efficientnet-lite0-ar", "--data", "data.yaml"]);
    assert!(error.contains("did you mean"), "{error}");

    succeed(folder, &hub, &["weights", "fetch", NAME]);
    let said = succeed(folder, &hub, &train);
    assert!(said.contains("bn_eps: 0.00001") && said.contains("normalize: imagenet"), "{said}");
    let kept = fs::read_to_string(folder.join("runs/exp/args.yaml")).unwrap();
    assert!(kept.contains(FILE), "{kept}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let stock = Stock { cut_at: 1 << 20, then: AfterCut::Wait, ..Stock::of(published("lite0", 2.0)) };
    let hub = Hub::start(Some(stock));
    let mut child = Command::new(env!("CARGO_BIN_EXE_effyolo"))
        .args(["weights", "fetch", NAME, "--to", "w"])
        .current_dir(folder)
        .env("HF_ENDPOINT", &hub.address)
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while hub.downloads() == 0 {
        assert!(started.elapsed().as_secs() < 60, "the download never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(files(folder).len(), 1);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(files(folder).is_empty(), "{:?}", files(folder));
}
