//! Licences as packages name them (SPDX expressions), held against a list. Pure.

/// Whether a package may be used under the licences that are allowed.
///
/// # Errors
/// What cannot be read.
pub fn is_allowed(expression: &str, allowed: &[&str]) -> Result<bool, String> {
    // The older way to write a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (verdict, rest) = choice(&words, allowed)?;
    if rest.is_empty() { Ok(verdict) } else { Err(format!("`{expression}`: {rest:?} is left over")) }
}

type Read<'w> = Result<(bool, &'w [&'w str]), String>;

fn choice<'w>(words: &'w [&'w str], allowed: &[&str]) -> Read<'w> {
    let (mut verdict, mut rest) = all(words, allowed)?;
    while let Some(("OR", behind)) = rest.split_first().map(|(word, behind)| (*word, behind)) {
        let (other, behind) = all(behind, allowed)?;
        (verdict, rest) = (verdict || other, behind);
    }
    Ok((verdict, rest))
}

fn all<'w>(words: &'w [&'w str], allowed: &[&str]) -> Read<'w> {
    let (mut verdict, mut rest) = one(words, allowed)?;
    while let Some(("AND", behind)) = rest.split_first().map(|(word, behind)| (*word, behind)) {
        let (other, behind) = one(behind, allowed)?;
        (verdict, rest) = (verdict && other, behind);
    }
    Ok((verdict, rest))
}

fn one<'w>(words: &'w [&'w str], allowed: &[&str]) -> Read<'w> {
    match words {
        ["(", rest @ ..] => match choice(rest, allowed)? {
            (verdict, [")", rest @ ..]) => Ok((verdict, rest)),
            _ => Err("a bracket is not closed".to_owned()),
        },
        [licence, "WITH", exception, rest @ ..] => {
            Ok((allowed.contains(&format!("{licence} WITH {exception}").as_str()), rest))
        }
        [licence, rest @ ..] if !["OR", "AND", ")", "WITH"].contains(licence) => Ok((allowed.contains(licence), rest)),
        _ => Err("a licence is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn one_of_several_is_enough_and_all_of_several_are_needed() {
        let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"];
        for (expression, verdict) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("Apache-2.0 AND ISC", true),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("GPL-3.0 AND MIT OR ISC", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH Other-exception", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), Ok(verdict), "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT ISC", "AND MIT"] {
            assert!(is_allowed(broken, &allowed).is_err(), "{broken}");
        }
    }
}
