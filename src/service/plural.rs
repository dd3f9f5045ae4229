//! Numbers with their noun and verb, singular or plural.

/// A number with its noun: `1 connection`, `2 connections`.
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    match wide(number) {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// A number with its noun and its verb (singular, plural): `1 client waits`, `2 clients wait`.
pub fn clause(number: impl TryInto<u64>, noun: &str, verb: (&str, &str)) -> String {
    let number = wide(number);
    let verb = if number == 1 { verb.0 } else { verb.1 };
    format!("{} {verb}", count(number, noun))
}

fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_none_is_plural() {
        for (number, text) in [
            (0_usize, "0 clients wait"),
            (1, "1 client waits"),
            (2, "2 clients wait"),
        ] {
            assert_eq!(clause(number, "client", ("waits", "wait")), text);
        }
        assert_eq!(count(1_u32, "connection"), "1 connection");
        assert_eq!(count(u64::MAX, "byte"), format!("{} bytes", u64::MAX));
    }
}
