//! Waiting for conditions instead of for time.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::Result;

/// Asks until the answer is `Ok`, every 50 ms; after the deadline it fails with what the last answer said was lacking.
pub async fn until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(lacking) if start.elapsed() > deadline => {
                return Err(format!("gave up waiting for {what} after {deadline:?}: {lacking}").into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_the_answer_or_says_what_was_lacking() {
        let mut asked = 0;
        let answer = until("three", Duration::from_secs(5), async || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("not yet") }
        });
        assert_eq!(answer.await.unwrap(), 3);
        let never = until("the impossible", Duration::from_millis(60), async || Err::<(), _>("a miracle")).await;
        let message = never.unwrap_err().to_string();
        assert!(message.contains("the impossible") && message.contains("a miracle"), "{message}");
    }
}
