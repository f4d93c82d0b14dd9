//! A small part of CEL: `self` and `oldSelf` with fields, literals, `has`, `size`, comparison, `!`, `&&`, `||` and
//! parentheses. That covers the rules of the CSI snapshot CRDs.
//! Source: the language definition, <https://github.com/google/cel-spec/blob/v0.24.0/doc/langdef.md>.

use serde_json::Value;

/// A rule that can be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    /// `self.a.b`: true for `oldSelf`.
    Path(bool, Vec<String>),
    Has(Box<Expression>),
    Size(Box<Expression>),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Compare(Box<Expression>, Comparison, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Different,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Expression {
    /// `None`: not understood.
    pub(super) fn read(rule: &str) -> Option<Self> {
        let tokens = tokens(rule)?;
        let mut reader = Reader { tokens: &tokens };
        let expression = reader.any()?;
        reader.tokens.is_empty().then_some(expression)
    }

    /// Does it hold? `None`: it cannot be said, as of a rule about the old value when there is none.
    pub(super) fn holds(&self, value: &Value, old: Option<&Value>) -> Option<bool> {
        if self.speaks_of_old() && old.is_none() {
            return None;
        }
        self.value(value, old)?.as_bool()
    }

    fn speaks_of_old(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Path(old, _) => *old,
            Self::Has(inner) | Self::Size(inner) | Self::Not(inner) => inner.speaks_of_old(),
            Self::All(all) | Self::Any(all) => all.iter().any(Self::speaks_of_old),
            Self::Compare(left, _, right) => left.speaks_of_old() || right.speaks_of_old(),
        }
    }

    /// `None` stands for CEL's errors (an absent field); `&&` and `||` may swallow them, as in CEL.
    fn value(&self, value: &Value, old: Option<&Value>) -> Option<Value> {
        match self {
            Self::Literal(literal) => Some(literal.clone()),
            Self::Path(of_old, fields) => {
                let start = if *of_old { old? } else { value };
                fields.iter().try_fold(start, |at, field| at.get(field)).cloned()
            }
            Self::Has(inner) => match inner.as_ref() {
                Self::Path(of_old, fields) => {
                    let (last, before) = fields.split_last()?;
                    let start = if *of_old { old? } else { value };
                    let holder = before.iter().try_fold(start, |at, field| at.get(field))?;
                    Some(Value::Bool(holder.get(last).is_some()))
                }
                _ => None,
            },
            Self::Size(inner) => {
                let size = match inner.value(value, old)? {
                    Value::String(text) => text.chars().count(),
                    Value::Array(items) => items.len(),
                    Value::Object(fields) => fields.len(),
                    _ => return None,
                };
                Some(size.into())
            }
            Self::Not(inner) => Some(Value::Bool(!inner.value(value, old)?.as_bool()?)),
            Self::All(all) => Self::join(all, false, value, old),
            Self::Any(all) => Self::join(all, true, value, old),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(value, old)?, right.value(value, old)?);
                comparison.of(&left, &right).map(Value::Bool)
            }
        }
    }

    /// One operand equal to `decides` decides; else all must be known.
    fn join(all: &[Self], decides: bool, value: &Value, old: Option<&Value>) -> Option<Value> {
        let values: Vec<Option<bool>> = all
            .iter()
            .map(|one| one.value(value, old).and_then(|value| value.as_bool()))
            .collect();
        if values.contains(&Some(decides)) {
            return Some(Value::Bool(decides));
        }
        values
            .iter()
            .all(Option::is_some)
            .then_some(Value::Bool(!decides))
    }
}

impl Comparison {
    fn of(self, left: &Value, right: &Value) -> Option<bool> {
        use std::cmp::Ordering::{Equal, Greater, Less};

        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match self {
            Self::Equal => Some(order.map_or(left == right, |order| order == Equal)),
            Self::Different => Some(order.map_or(left != right, |order| order != Equal)),
            Self::Less => order.map(|order| order == Less),
            Self::AtMost => order.map(|order| order != Greater),
            Self::More => order.map(|order| order == Greater),
            Self::AtLeast => order.map(|order| order != Less),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    Sign(&'static str),
}

/// Two-letter signs before their first letters.
const SIGNS: [&str; 13] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", ".", "-",
];

fn tokens(rule: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = rule.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            tokens.push(match &rest[..length] {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                "null" => Token::Literal(Value::Null),
                word => Token::Word(word.to_owned()),
            });
            length
        } else if first.is_ascii_digit() {
            let length = rest
                .find(|letter: char| !letter.is_ascii_digit())
                .unwrap_or(rest.len());
            tokens.push(Token::Literal(rest[..length].parse::<i64>().ok()?.into()));
            length
        } else if first == '\'' || first == '"' {
            let text = &rest[1..][..rest[1..].find(first)?];
            // Escapes are outside this part of the language.
            if text.contains('\\') {
                return None;
            }
            tokens.push(Token::Literal(text.into()));
            text.len() + 2
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Reader<'a> {
    tokens: &'a [Token],
}

impl Reader<'_> {
    fn any(&mut self) -> Option<Expression> {
        let mut all = vec![self.all()?];
        while self.takes("||") {
            all.push(self.all()?);
        }
        Some(if all.len() == 1 {
            all.remove(0)
        } else {
            Expression::Any(all)
        })
    }

    fn all(&mut self) -> Option<Expression> {
        let mut all = vec![self.comparison()?];
        while self.takes("&&") {
            all.push(self.comparison()?);
        }
        Some(if all.len() == 1 {
            all.remove(0)
        } else {
            Expression::All(all)
        })
    }

    fn comparison(&mut self) -> Option<Expression> {
        let left = self.operand()?;
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Different),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        for (sign, comparison) in signs {
            if self.takes(sign) {
                return Some(Expression::Compare(
                    Box::new(left),
                    comparison,
                    Box::new(self.operand()?),
                ));
            }
        }
        Some(left)
    }

    fn operand(&mut self) -> Option<Expression> {
        if self.takes("!") {
            return Some(Expression::Not(Box::new(self.operand()?)));
        }
        if self.takes("(") {
            let inner = self.any()?;
            return self.takes(")").then_some(inner);
        }
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        match first {
            Token::Literal(literal) => Some(Expression::Literal(literal.clone())),
            Token::Sign(_) => None,
            Token::Word(word) => match word.as_str() {
                "self" => Some(Expression::Path(false, self.fields()?)),
                "oldSelf" => Some(Expression::Path(true, self.fields()?)),
                "has" => Some(Expression::Has(Box::new(self.argument()?))),
                "size" => Some(Expression::Size(Box::new(self.argument()?))),
                _ => None,
            },
        }
    }

    fn argument(&mut self) -> Option<Expression> {
        if !self.takes("(") {
            return None;
        }
        let inner = self.any()?;
        self.takes(")").then_some(inner)
    }

    fn fields(&mut self) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        while self.takes(".") {
            let (Token::Word(word), rest) = self.tokens.split_first()? else {
                return None;
            };
            // A method call is outside this part of the language.
            if rest.first() == Some(&Token::Sign("(")) {
                return None;
            }
            self.tokens = rest;
            fields.push(unescaped(word));
        }
        Some(fields)
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        match self.tokens.split_first() {
            Some((Token::Sign(first), rest)) if *first == sign => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}

/// Fields whose names CEL reserves or cannot spell are escaped: `__namespace__`, `a__dot__b`.
fn unescaped(word: &str) -> String {
    let plain = word
        .replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__");
    match plain.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) {
        Some(reserved) => reserved.to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(rule: &str, value: Value, old: Option<Value>) -> Option<bool> {
        Expression::read(rule).expect(rule).holds(&value, old.as_ref())
    }

    #[test]
    fn rules_of_the_snapshot_crds_are_understood() {
        let either = "(has(self.a) && !has(self.b)) || (!has(self.a) && has(self.b))";
        assert_eq!(holds(either, json!({"a": 1}), None), Some(true));
        assert_eq!(holds(either, json!({}), None), Some(false));
        assert_eq!(holds(either, json!({"a": 1, "b": 1}), None), Some(false));
        assert_eq!(holds("size(self) > 0", json!([]), None), Some(false));
        assert_eq!(
            holds(
                "has(self.name) && has(self.__namespace__)",
                json!({"name": "a", "namespace": "b"}),
                None
            ),
            Some(true)
        );
    }

    #[test]
    fn a_rule_about_the_old_value_is_asked_only_when_there_is_one() {
        assert_eq!(holds("self == oldSelf", json!("a"), None), None);
        assert_eq!(
            holds("self == oldSelf", json!("a"), Some(json!("b"))),
            Some(false)
        );
        let kept = "!has(oldSelf.uid) || (has(self.uid) && self.uid == oldSelf.uid)";
        assert_eq!(holds(kept, json!({}), Some(json!({"uid": "1"}))), Some(false));
        assert_eq!(
            holds(kept, json!({"uid": "1"}), Some(json!({"uid": "1"}))),
            Some(true)
        );
        assert_eq!(holds(kept, json!({"uid": "1"}), Some(json!({}))), Some(true));
    }

    #[test]
    fn what_is_not_understood_is_said_not_to_be() {
        for rule in [
            "self.all(x, x > 0)",
            "self.x.startsWith('a')",
            "self +",
            "",
            "self.size() > 1",
            "duration(self)",
        ] {
            assert_eq!(Expression::read(rule), None, "{rule}");
        }
    }
}
