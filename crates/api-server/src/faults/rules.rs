//! Faults by rule: which requests, and which of those. The same words as `caravel-storage`'s `faulty`.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Fault, Faults, Subject, WatchFault};

/// A fault and when it happens: each matching request is counted from 1.
#[derive(Debug, Clone)]
pub struct Rule<F> {
    fault: F,
    operation: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: String,
    user: String,
    from: u64,
    until: u64,
    probability: Option<f64>,
    seen: u64,
}

impl<F: Clone> Rule<F> {
    /// The fault on every request.
    pub fn always(fault: F) -> Self {
        Self {
            fault,
            operation: None,
            resource: None,
            subresource: None,
            namespace: None,
            name: String::new(),
            user: String::new(),
            from: 1,
            until: u64::MAX,
            probability: None,
            seen: 0,
        }
    }

    /// Only for this operation: a verb, or a CSI call.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only for this resource (plural), with all its subresources.
    #[must_use]
    pub fn of(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only for this subresource; empty: only for the object itself.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Only in this namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only for names that begin with this.
    #[must_use]
    pub fn named(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.name);
        self
    }

    /// Only for users whose name begins with this: `system:serviceaccount:velero:`.
    #[must_use]
    pub fn by(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.user);
        self
    }

    /// Only the nth matching request.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        (self.from, self.until) = (n, n);
        self
    }

    /// Only the first n matching requests.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        (self.from, self.until) = (1, n);
        self
    }

    /// Only the matching requests after the first n.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        (self.from, self.until) = (n.saturating_add(1), u64::MAX);
        self
    }

    /// Of those only some, drawn from the set's generator; 0 is never, 1 always.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability.clamp(0.0, 1.0));
        self
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.operation, subject.operation)
            && is(&self.resource, subject.resource)
            && is(&self.subresource, subject.subresource)
            && is(&self.namespace, subject.namespace)
            && subject.name.starts_with(&self.name)
            && subject.user.starts_with(&self.user)
    }

    fn applies(&mut self, subject: &Subject<'_>, rng: &mut StdRng) -> Option<F> {
        if !self.matches(subject) {
            return None;
        }
        self.seen += 1;
        let is_due = (self.from..=self.until).contains(&self.seen);
        let is_drawn = |probability: f64| rng.random_bool(probability);
        (is_due && self.probability.is_none_or(is_drawn)).then(|| self.fault.clone())
    }
}

/// Rules in the order they were added; of several that apply to a request the first wins.
#[derive(Debug)]
pub struct RuleSet<F>(Mutex<Inner<F>>);

#[derive(Debug)]
struct Inner<F> {
    rules: Vec<Rule<F>>,
    rng: StdRng,
    injected: u64,
}

impl<F: Clone> RuleSet<F> {
    /// No rule; probabilities are drawn from this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Inner {
            rules: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            injected: 0,
        }))
    }

    /// Adds a rule, also while the set is in use.
    pub fn add(&self, rule: Rule<F>) {
        self.0.lock().rules.push(rule);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.0.lock().rules.clear();
    }

    /// How many faults there were.
    pub fn injected(&self) -> u64 {
        self.0.lock().injected
    }

    /// The fault of this request.
    pub fn fault(&self, subject: &Subject<'_>) -> Option<F> {
        let inner = &mut *self.0.lock();
        let mut found = None;
        // Every rule counts the request, so that two rules about the same do not shift each other.
        for rule in &mut inner.rules {
            let fault = rule.applies(subject, &mut inner.rng);
            found = found.or(fault);
        }
        inner.injected += u64::from(found.is_some());
        found
    }
}

/// Faults of an API server by rule. Share it in an `Arc`, and change it while the server runs.
#[derive(Debug)]
pub struct Rules {
    requests: RuleSet<Fault>,
    watches: RuleSet<WatchFault>,
}

impl Rules {
    /// No rule; probabilities are drawn from this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            requests: RuleSet::new(seed),
            // Another sequence, so that a watch more does not shift the requests' faults.
            watches: RuleSet::new(seed.wrapping_add(1)),
        }
    }

    /// Adds a rule about requests.
    pub fn add(&self, rule: Rule<Fault>) {
        self.requests.add(rule);
    }

    /// Adds a rule about what watches send; its operation is `watch`.
    pub fn add_watch(&self, rule: Rule<WatchFault>) {
        self.watches.add(rule);
    }

    /// Makes the server behave again.
    pub fn clear(&self) {
        self.requests.clear();
        self.watches.clear();
    }

    /// How many faults there were.
    pub fn injected(&self) -> u64 {
        self.requests.injected() + self.watches.injected()
    }
}

impl Faults for Rules {
    fn request(&self, subject: &Subject<'_>) -> Option<Fault> {
        self.requests.fault(subject)
    }

    fn watch_event(&self, subject: &Subject<'_>) -> Option<WatchFault> {
        self.watches.fault(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch<'a>(name: &'a str, user: &'a str) -> Subject<'a> {
        Subject {
            operation: "patch",
            resource: "datauploads",
            subresource: "status",
            namespace: "velero",
            name,
            user,
            ..Subject::default()
        }
    }

    #[test]
    fn only_what_a_rule_names_is_counted() {
        let rules = RuleSet::new(1);
        let rule = Rule::always("x").on("patch").of("datauploads").inside("velero");
        rules.add(rule.named("b-").by("system:serviceaccount:").nth(2));
        let velero = "system:serviceaccount:velero:velero";
        assert_eq!(rules.fault(&patch("b-1", velero)), None);
        assert_eq!(rules.fault(&patch("c-1", velero)), None, "another name");
        assert_eq!(rules.fault(&patch("b-1", "admin")), None, "another user");
        assert_eq!(rules.fault(&patch("b-2", velero)), Some("x"));
        assert_eq!(rules.fault(&patch("b-2", velero)), None);
        assert_eq!(rules.injected(), 1);
    }

    #[test]
    fn one_seed_draws_the_same_and_a_probability_is_neither_never_nor_always() {
        let drawn = |seed| {
            let rules = RuleSet::new(seed);
            rules.add(Rule::always(()).with_probability(0.3));
            (0..200)
                .map(|_| rules.fault(&patch("a", "")).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let hits = drawn(7).iter().filter(|hit| **hit).count();
        assert!((30..90).contains(&hits), "{hits} of 200");
    }

    #[test]
    fn two_rules_about_the_same_do_not_shift_each_other() {
        let rules = RuleSet::new(1);
        rules.add(Rule::always("first").first(1));
        rules.add(Rule::always("second").nth(2));
        let got = [(); 3].map(|()| rules.fault(&patch("a", "")));
        assert_eq!(got, [Some("first"), Some("second"), None]);
    }
}
