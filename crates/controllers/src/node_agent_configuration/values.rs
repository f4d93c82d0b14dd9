//! The kinds of values in the ConfigMaps of the node agent and of maintenance Jobs. Each is taken, or refused with its key,
//! itself and the reason.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::{Map, Value};

/// One value that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place: `loadConcurrency.perNodeConfig[1].number`.
    pub key: String,
    /// As it stands there, cut when it is long.
    pub value: String,
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is refused: {}", self.key, self.value, self.why)
    }
}

/// Longest value that is repeated in a message, in characters.
const LONGEST_VALUE: usize = 60;

pub(crate) type Taken<T> = Result<T, Refused>;

/// A value and its place.
#[derive(Clone)]
pub(crate) struct Place<'v> {
    pub key: String,
    pub value: &'v Value,
}

impl<'v> Place<'v> {
    pub fn new(key: impl Into<String>, value: &'v Value) -> Self {
        Self {
            key: key.into(),
            value,
        }
    }

    pub fn refused(&self, why: impl Into<String>) -> Refused {
        let text = self.value.to_string();
        let mut value: String = text.chars().take(LONGEST_VALUE).collect();
        if value.len() < text.len() {
            value.push('…');
        }
        Refused {
            key: self.key.clone(),
            value,
            why: why.into(),
        }
    }

    /// The fields of an object in which an unknown one would change what the others mean.
    pub fn exactly(&self, known: &[&str]) -> Taken<BTreeMap<&'v str, Place<'v>>> {
        let mut unknown = Vec::new();
        let fields = self.fields(known, &mut unknown)?;
        match unknown.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(fields),
        }
    }

    /// The fields of an object that are said; what is not known here is refused by itself and the others count.
    pub fn fields(&self, known: &[&str], refused: &mut Vec<Refused>) -> Taken<BTreeMap<&'v str, Place<'v>>> {
        let mut found = BTreeMap::new();
        for (name, place) in self.entries()? {
            if known.contains(&name) {
                found.insert(name, place);
            } else {
                refused.push(place.refused(format!("unknown key; known here: {}", known.join(", "))));
            }
        }
        Ok(found)
    }

    /// All entries of an object, whatever they are called. As in Go, null says nothing.
    pub fn entries(&self) -> Taken<Vec<(&'v str, Place<'v>)>> {
        let object: &'v Map<String, Value> = match self.value {
            Value::Object(object) => object,
            _ => return Err(self.refused("a JSON object is expected")),
        };
        let said = object.iter().filter(|(_, value)| !value.is_null());
        Ok(said
            .map(|(name, value)| (name.as_str(), Place::new(format!("{}.{name}", self.key), value)))
            .collect())
    }

    /// The elements of a list.
    pub fn elements(&self) -> Taken<Vec<Place<'v>>> {
        let Value::Array(list) = self.value else {
            return Err(self.refused("a JSON list is expected"));
        };
        let places = list.iter().enumerate();
        Ok(places
            .map(|(index, value)| Place::new(format!("{}[{index}]", self.key), value))
            .collect())
    }

    pub fn boolean(&self) -> Taken<bool> {
        self.value
            .as_bool()
            .ok_or_else(|| self.refused("true or false is expected"))
    }

    pub fn text(&self) -> Taken<String> {
        let text = self.value.as_str().map(str::to_owned);
        text.ok_or_else(|| self.refused("a string is expected"))
    }

    /// A whole number from 1 on.
    pub fn number(&self) -> Taken<usize> {
        let number = self
            .value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| self.refused("a whole number from 1 on is expected"))
    }

    /// A whole number, zero too.
    pub fn megabytes(&self) -> Taken<u64> {
        self.value
            .as_u64()
            .ok_or_else(|| self.refused("a whole number is expected"))
    }

    /// An object of strings. Velero's own page has a boolean among them, so what can only mean one string is taken as it.
    pub fn texts(&self) -> Taken<BTreeMap<String, String>> {
        let entries = self.entries()?.into_iter().map(|(name, place)| {
            let text = match place.value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => place.value.to_string(),
                _ => return Err(place.refused("a string is expected")),
            };
            Ok((name.to_owned(), text))
        });
        entries.collect()
    }

    /// A list of strings.
    pub fn list_of_text(&self) -> Taken<Vec<String>> {
        self.elements()?.iter().map(Place::text).collect()
    }

    /// Labels that the API server will take.
    pub fn labels(&self) -> Taken<BTreeMap<String, String>> {
        let labels = self.texts()?;
        for (key, value) in &labels {
            self.check_key(key)?;
            if !is_label_value(value) {
                return Err(self.refused(format!("{value:?} cannot be the value of label {key:?}")));
            }
        }
        Ok(labels)
    }

    /// Annotations that the API server will take.
    pub fn annotations(&self) -> Taken<BTreeMap<String, String>> {
        let annotations = self.texts()?;
        annotations.keys().try_for_each(|key| self.check_key(key))?;
        Ok(annotations)
    }

    fn check_key(&self, key: &str) -> Taken<()> {
        if is_qualified_name(key) {
            Ok(())
        } else {
            Err(self.refused(format!("{key:?} cannot be the name of a label or annotation")))
        }
    }

    /// A label selector, with these operators in its expressions. Less than all of it would pick more than was meant.
    pub fn selector(&self, operators: &[&str]) -> Taken<LabelSelector> {
        let fields = self.exactly(&["matchLabels", "matchExpressions"])?;
        let labels = fields.get("matchLabels").map(Place::labels).transpose()?;
        let expressions = match fields.get("matchExpressions") {
            None => None,
            Some(place) => {
                let read = |place: &Place<'_>| place.expression(operators);
                Some(place.elements()?.iter().map(read).collect::<Taken<Vec<_>>>()?)
            }
        };
        Ok(LabelSelector {
            match_labels: labels,
            match_expressions: expressions,
        })
    }

    fn expression(&self, operators: &[&str]) -> Taken<LabelSelectorRequirement> {
        let fields = self.exactly(&["key", "operator", "values"])?;
        let text = |name| fields.get(name).map(Place::text).transpose();
        let key = text("key")?.unwrap_or_default();
        self.check_key(&key)?;
        let operator = text("operator")?.unwrap_or_default();
        if !operators.contains(&operator.as_str()) {
            return Err(self.refused(format!("operator must be one of {}", operators.join(", "))));
        }
        let values = fields.get("values").map(Place::list_of_text).transpose()?;
        let needs_values = matches!(operator.as_str(), "In" | "NotIn");
        let has_values = values.as_ref().is_some_and(|values| !values.is_empty());
        if needs_values && !has_values {
            return Err(self.refused(format!("operator {operator} needs values")));
        }
        if matches!(operator.as_str(), "Exists" | "DoesNotExist") && has_values {
            return Err(self.refused(format!("operator {operator} takes no values")));
        }
        Ok(LabelSelectorRequirement {
            key,
            operator,
            values,
        })
    }
}

/// `[prefix/]name`, as labels and annotations are called.
pub(crate) fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_prefix = |prefix: &str| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !prefix.is_empty() && prefix.len() <= 253 && prefix.chars().all(letters)
    };
    prefix.is_none_or(is_prefix) && !name.is_empty() && is_label_value(name)
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or nothing.
pub(crate) fn is_label_value(value: &str) -> bool {
    let end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && end(value.chars().next())
        && end(value.chars().next_back())
}
