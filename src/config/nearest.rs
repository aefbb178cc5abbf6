//! Which known word a misspelled one was meant to be.

/// The candidate that takes the fewest edits to reach from `word`; the first of equals.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| distance(word, candidate))
}

/// Letters to insert, delete or replace (Levenshtein), kept in one row of the usual matrix.
fn distance(from: &str, to: &str) -> usize {
    // A word longer than any key is as far away as its length; no need to fill a matrix with it.
    const LONGEST: usize = 100;
    if from.len() > LONGEST {
        return from.len().abs_diff(to.len());
    }
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("listn", "listen", 1),
            ("ß", "s", 1),
        ];
        for (from, to, expected) in cases {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn the_nearest_word_wins() {
        assert_eq!(nearest("listn", ["level", "listen", "url"]), Some("listen"));
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["a", "ab"]), Some("ab"));
    }
}
