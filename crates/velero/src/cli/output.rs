//! `-o`: objects as `table`, `json` or `yaml` on standard output.

use serde::Serialize;
use serde_json::Value;

use super::failure::{Failure, Outcome};

/// Value of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
}

/// Prints an object, or a `List` of several, as JSON or YAML with the trailing newline of kubectl.
pub fn print(object: &impl Serialize, format: Format) -> Outcome {
    emit(&render(object, format)?)
}

/// Writes text to standard output. A reader that closed the pipe (`| head`) is no failure.
pub fn emit(text: &str) -> Outcome {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// An object as text.
pub fn render(object: &impl Serialize, format: Format) -> Outcome<String> {
    let value =
        serde_json::to_value(object).map_err(|error| Failure::new(format!("printing an object: {error}")))?;
    match format {
        Format::Yaml => yaml(&value),
        Format::Json => {
            let mut bytes = Vec::new();
            // kubectl and Velero indent with four spaces.
            let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, indent))
                .map_err(|error| Failure::new(format!("printing an object as JSON: {error}")))?;
            bytes.push(b'\n');
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Format::Table => Err(
            Failure::usage("'table' format is not supported with this command")
                .next("use -o yaml or -o json"),
        ),
    }
}

/// YAML in block style.
pub fn yaml(value: &Value) -> Outcome<String> {
    let text = serde_saphyr::to_string(value)
        .map_err(|error| Failure::new(format!("printing an object as YAML: {error}")))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// Wraps objects the way kubectl prints several of them.
pub fn list(items: Vec<Value>) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// Prints what a `get` found: one object asked for by name as itself, else a list of all.
pub fn print_objects<K>(objects: &[K], names: &[String], format: Format) -> Outcome
where
    K: Serialize + kube::Resource<DynamicType = ()>,
{
    let mut items = objects.iter().map(with_type).collect::<Outcome<Vec<_>>>()?;
    let one = if names.len() == 1 { items.pop() } else { None };
    print(&one.unwrap_or_else(|| list(items)), format)
}

/// An object with its `apiVersion` and `kind`, which typed lists of the API server leave out.
fn with_type<K>(object: &K) -> Outcome<Value>
where
    K: Serialize + kube::Resource<DynamicType = ()>,
{
    let mut value =
        serde_json::to_value(object).map_err(|error| Failure::new(format!("printing an object: {error}")))?;
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    Ok(value)
}
