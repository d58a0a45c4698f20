/// Number of letters to insert, delete or replace to get from one word to the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// The nearest of `known`, if it is near enough to be a slip of the pen.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = word.chars().count().div_ceil(3).clamp(1, 3);
    let ranked = known.into_iter().map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate));
    ranked
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean ...?", or all names where none is near.
pub(crate) fn advice(word: &str, known: &[&str]) -> String {
    match closest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["epochs", "batch", "imgsz"];
        assert_eq!(closest("epoch", known), Some("epochs"));
        assert_eq!(closest("Batch_", known), Some("batch"));
        assert_eq!(closest("learning_rate", known), None);
        assert!(advice("learning_rate", &known).contains("epochs, batch, imgsz"));
    }
}
