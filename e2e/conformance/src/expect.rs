//! Comparing what came with what was expected, and waiting for what comes later.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// How long controllers may take before a check gives up; the runner's own deadline is longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Every part of `expected` is in `actual`: objects may hold more, lists and everything else are compared whole, and
/// `null` means absent.
pub fn holds(actual: &Value, expected: &Value) -> Result<()> {
    let mut differences = Vec::new();
    compare("", actual, expected, &mut differences);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// The two are equal.
pub fn equal<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> Result<()> {
    ensure!(
        actual == expected,
        "expected {expected:?}\n   got      {actual:?}"
    );
    Ok(())
}

fn compare(path: &str, actual: &Value, expected: &Value, differences: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (key, wanted) in expected {
                compare(
                    &format!("{path}.{key}"),
                    actual.get(key).unwrap_or(&Value::Null),
                    wanted,
                    differences,
                );
            }
        }
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                compare(&format!("{path}[{at}]"), actual, expected, differences);
            }
        }
        _ if actual == expected => {}
        _ => differences.push(format!("{path} is {actual}, expected {expected}")),
    }
}

/// Asks until there is an answer: `ask` gives it, or says what is missing, which the error repeats.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<std::result::Result<T, String>>>,
{
    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        match ask().await? {
            Ok(answer) => return Ok(answer),
            Err(missing) if begun.elapsed() > PATIENCE => {
                bail!("{what} did not come within {} s: {missing}", PATIENCE.as_secs())
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

impl crate::World {
    /// Waits until the object at this path holds this; gives the object.
    pub async fn until(&self, path: &str, expected: &Value) -> Result<Value> {
        self.until_it(path, |object| {
            holds(object, expected).map_err(|error| error.to_string())
        })
        .await
        .map(|(object, ())| object)
    }

    /// Waits until `wanted` finds in the object at this path what it looks for.
    pub async fn until_it<T>(
        &self,
        path: &str,
        wanted: impl Fn(&Value) -> std::result::Result<T, String>,
    ) -> Result<(Value, T)> {
        eventually(path, || async {
            let answer = self.get(path).await?;
            Ok(match answer.code {
                200 => match wanted(&answer.body) {
                    Ok(found) => Ok((answer.body, found)),
                    Err(missing) => Err(format!("{missing}\n   status {}", answer.body["status"])),
                },
                code => Err(format!("{code} {}", answer.body["message"])),
            })
        })
        .await
    }

    /// Waits until there is nothing at this path.
    pub async fn until_gone(&self, path: &str) -> Result<()> {
        eventually(&format!("the end of {path}"), || async {
            let answer = self.get(path).await?;
            Ok(match answer.code {
                404 => Ok(()),
                code => Err(format!(
                    "{code}, finalizers {}, status {}",
                    answer.body["metadata"]["finalizers"], answer.body["status"]
                )),
            })
        })
        .await
    }
}

/// The names of a list's items, in its order.
pub fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}

/// The one of this type among `status.conditions`; null when there is none.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] == kind)
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_path_and_more_than_expected_is_fine() {
        let actual = json!({"a": {"b": 1, "c": [1, 2]}, "d": true});
        assert!(holds(&actual, &json!({"a": {"b": 1}, "e": null})).is_ok());
        let error = holds(&actual, &json!({"a": {"b": 2, "c": [1]}}))
            .expect_err("it differs")
            .to_string();
        assert_eq!(error, ".a.b is 1, expected 2\n.a.c is [1,2], expected [1]");
        assert!(holds(&actual, &json!({"d": null})).is_err());
    }
}
