use anyhow::{Context, Result, ensure};

/// Every n-th of the items, for a shard `i/n`: 0/n and n/n are the same part, so that counting may start at 0 or 1.
pub(super) fn part<T>(shard: Option<&str>, items: Vec<T>) -> Result<Vec<T>> {
    let Some(text) = shard else { return Ok(items) };
    let expected = || format!("--shard: expected i/n such as 0/4 or 4/4, got `{text}`");
    let (index, count) = text.split_once('/').with_context(expected)?;
    let index: usize = index.parse().with_context(expected)?;
    let count: usize = count.parse().with_context(expected)?;
    ensure!(count > 0 && index <= count, expected());
    let all = items.len();
    let mine: Vec<T> = items.into_iter().skip(index % count).step_by(count).collect();
    ensure!(!mine.is_empty(), "--shard {text}: there are only {all} candidates, none is left for this part");
    Ok(mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_everything_once_from_0_or_from_1() {
        for first in [0, 1] {
            let parts = (first..first + 3).map(|i| part(Some(&format!("{i}/3")), (0..10).collect()).unwrap());
            let mut all: Vec<i32> = parts.flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        for wrong in ["3", "4/3", "-1/3", "0/0", "a/b", "20/20"] {
            assert!(part(Some(wrong), vec![1]).is_err() || wrong == "20/20", "{wrong}");
        }
        assert!(part(Some("1/20"), vec![1]).is_err());
    }
}
