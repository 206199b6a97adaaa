//! Runbooks as tests: the commands of a Markdown file, in order, with the exit codes and the output that it promises.
//!
//! A fenced block whose info string begins with `sh run` is executed. Words behind it:
//!
//! | | |
//! |---|---|
//! | `exit=3`, `exit=0,3` | the exit codes that are right; 0 where nothing is said |
//! | `setup` | makes what the runbook is for: a server that is gone, a flood of broken records; usually within an HTML comment |
//! | `bare` | of the first block: nothing is set up before, and no bridge runs |
//! | `full` | of the first block: only in the long run, since it takes minutes |
//!
//! A block `text expect` behind it promises lines: each has to be found in the output, as it stands, with `...` for anything,
//! or as a regular expression.

use crate::Result;

/// Commands of a runbook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The line of the file where they begin.
    pub line: usize,
    /// The commands.
    pub script: String,
    /// What stands behind `sh run`.
    pub words: Vec<String>,
    /// The exit codes that are right.
    pub codes: Vec<i32>,
    /// What the output must have.
    pub expected: Vec<String>,
}

/// The blocks of a runbook that are executed.
///
/// # Errors
/// What is wrong with it, by line: a word that nobody knows, a block without end, a promise without commands.
pub fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate().map(|(place, line)| (place + 1, line));
    while let Some((number, line)) = lines.next() {
        let Some((indent, info)) = opening(line) else { continue };
        let mut body = String::new();
        loop {
            let (_, line) = lines.next().ok_or_else(|| format!("line {number}: a block without an end"))?;
            if line.trim() == "```" {
                break;
            }
            body += line.get(indent..).unwrap_or_default();
            body.push('\n');
        }
        let words: Vec<&str> = info.split_whitespace().collect();
        match words.as_slice() {
            ["sh", "run", words @ ..] => blocks.push(block(number, body, words)?),
            ["text", "expect"] => {
                let of = blocks.last_mut().ok_or_else(|| format!("line {number}: nothing was run before"))?;
                of.expected.extend(body.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(blocks)
}

/// How far a fence is indented, and what stands behind it.
fn opening(line: &str) -> Option<(usize, &str)> {
    let info = line.trim_start().strip_prefix("```")?;
    (!info.starts_with('`')).then_some((line.len() - line.trim_start().len(), info))
}

fn block(line: usize, script: String, words: &[&str]) -> Result<Block> {
    let mut codes = vec![0];
    for word in words {
        match word.strip_prefix("exit=") {
            Some(numbers) => {
                codes = numbers
                    .split(',')
                    .map(|number| number.parse().map_err(|_| format!("line {line}: {word}: not an exit code")))
                    .collect::<std::result::Result<_, _>>()?;
            }
            None if ["setup", "bare", "full"].contains(word) => {}
            None => return Err(format!("line {line}: `{word}` is no word of a block that is run").into()),
        }
    }
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Ok(Block { line, script, words, codes, expected: Vec::new() })
}

impl Block {
    /// Whether this stands behind `sh run`.
    pub fn says(&self, word: &str) -> bool {
        self.words.iter().any(|found| found == word)
    }

    /// What is wrong with how it went, if anything is.
    pub fn judge(&self, code: Option<i32>, output: &str) -> Option<String> {
        if !code.is_some_and(|code| self.codes.contains(&code)) {
            return Some(format!("exit code {code:?} instead of {:?}", self.codes));
        }
        let missing = self.expected.iter().find(|line| !is_in(line, output))?;
        Some(format!("the output has no line like `{missing}`"))
    }
}

fn is_in(wanted: &str, output: &str) -> bool {
    let parts: Vec<&str> = wanted.split("...").map(str::trim).collect();
    let as_regex = regex_lite::Regex::new(wanted).ok();
    output.lines().any(|line| {
        let mut rest = Some(line);
        for part in &parts {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, behind)| behind);
        }
        rest.is_some() || as_regex.as_ref().is_some_and(|regex| regex.is_match(line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r"# When it is so
<!--
```sh run setup full
break it
```
-->
1. Look:

   ```sh run exit=0,3
   for x in 1; do
     echo $x
   done
   ```

   ```text expect
   PARITY: ... records
   ^done [0-9]+$
   ```

```sh
not run
```
";

    #[test]
    fn what_is_marked_is_run_and_nothing_else() {
        let blocks = blocks(TEXT).unwrap();
        assert_eq!(blocks.len(), 2);
        assert!(blocks[0].says("setup") && blocks[0].says("full") && blocks[0].script == "break it\n");
        assert_eq!((blocks[1].line, blocks[1].codes.as_slice()), (9, [0, 3].as_slice()));
        assert_eq!(blocks[1].script, "for x in 1; do\n  echo $x\ndone\n");
        assert_eq!(blocks[1].expected, ["PARITY: ... records", "^done [0-9]+$"]);
    }

    #[test]
    fn promises_are_kept_or_not() {
        let block = &blocks(TEXT).unwrap()[1];
        assert_eq!(block.judge(Some(3), "x\nPARITY: 20 source records\ndone 7\n"), None);
        assert!(block.judge(Some(1), "PARITY: 20 records\ndone 7").is_some_and(|wrong| wrong.contains("exit code")));
        assert!(block.judge(Some(0), "NO PARITY\ndone 7").is_some_and(|wrong| wrong.contains("PARITY")));
        assert!(block.judge(Some(0), "PARITY: 1 records\nundone").is_some());
    }

    #[test]
    fn mistakes_are_named_by_their_line() {
        for (text, words) in [
            ("```sh run exti=3\nx\n```\n", "line 1: `exti=3`"),
            ("\n```sh run\nx\n", "line 2: a block without an end"),
            ("```text expect\nx\n```\n", "nothing was run before"),
        ] {
            let wrong = blocks(text).unwrap_err().to_string();
            assert!(wrong.contains(words), "{wrong}");
        }
    }
}
