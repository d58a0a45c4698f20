use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// How a trial is shorter than the real training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proxy {
    /// Epochs of a trial.
    pub(super) epochs: usize,
    /// Image side of the unscaled network; a candidate's is gamma^phi times this.
    pub(super) imgsz: usize,
    /// Width multiplier on top of the candidate's.
    pub(super) width: f64,
    /// Share of the training images of each class.
    pub(super) subset: f64,
    /// Images a batch.
    pub(super) batch: usize,
}

impl Proxy {
    /// Reads `key=value,...`; what is left out keeps a trial's usual value, `imgsz` the baseline's own side.
    pub(super) fn parse(text: &str, baseline_side: usize) -> Result<Self> {
        let mut proxy = Proxy { epochs: 10, imgsz: baseline_side, width: 1.0, subset: 1.0, batch: 32 };
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (key, value) = item.split_once('=').with_context(|| expected(item))?;
            proxy.set(key.trim(), value.trim()).with_context(|| format!("--proxy {item}"))?;
        }
        Ok(proxy)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "epochs" => self.epochs = count(value)?,
            "imgsz" => self.imgsz = count(value)?,
            "batch" => self.batch = count(value)?,
            "width" => self.width = share(value, 16.0)?,
            "subset" => self.subset = share(value, 1.0)?,
            _ => bail!(expected(key)),
        }
        Ok(())
    }
}

fn expected(got: &str) -> String {
    format!("--proxy: expected epochs=, imgsz=, width=, subset= or batch=, got `{got}`")
}

fn count(value: &str) -> Result<usize> {
    let number = value.parse().with_context(|| format!("expected a whole number, got `{value}`"))?;
    ensure!(number > 0, "expected at least 1, got 0");
    Ok(number)
}

fn share(value: &str, most: f64) -> Result<f64> {
    let number: f64 = value.parse().with_context(|| format!("expected a number, got `{value}`"))?;
    ensure!(number > 0.0 && number <= most, "expected a number above 0 and at most {most}, got {number}");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_read_and_checked() {
        let proxy = Proxy::parse("epochs=3, imgsz=96,width=0.5,subset=0.1,batch=8", 224).unwrap();
        assert_eq!(proxy, Proxy { epochs: 3, imgsz: 96, width: 0.5, subset: 0.1, batch: 8 });
        assert_eq!(Proxy::parse("", 300).unwrap().imgsz, 300);
        for wrong in ["epochs", "epochs=0", "epochs=a", "width=-1", "width=NaN", "subset=2", "colour=3"] {
            assert!(Proxy::parse(wrong, 224).is_err(), "{wrong}");
        }
    }
}
