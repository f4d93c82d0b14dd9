//! A wrapper that makes a store misbehave on purpose, by rules: for tests of what happens when an answer is
//! lost, a listing breaks off or the store refuses. Wraps any neighbour; without rules it changes nothing.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{BlobId, BlobMetadata, ObjectLock, Operation, Storage, StorageError, StorageErrorKind};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation is not done and fails with this kind.
    Fail(StorageErrorKind),
    /// The operation is done, and then fails with this kind: the answer was lost.
    LostAnswer(StorageErrorKind),
    /// The operation is done after this time.
    Slow(Duration),
}

/// When it goes wrong: each matching call is counted from 1.
#[derive(Clone, Debug)]
pub struct Rule {
    operation: Option<Operation>,
    prefix: String,
    from: u64,
    until: u64,
    fault: Fault,
    seen: u64,
}

impl Rule {
    /// The fault on every call.
    pub fn always(fault: Fault) -> Self {
        Self {
            operation: None,
            prefix: String::new(),
            from: 1,
            until: u64::MAX,
            fault,
            seen: 0,
        }
    }

    /// Only for this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only for blobs (or listings) whose name (or prefix) starts with this.
    #[must_use]
    pub fn named(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Only the nth matching call.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        (self.from, self.until) = (n, n);
        self
    }

    /// Only the first n matching calls.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        (self.from, self.until) = (1, n);
        self
    }

    /// Only the matching calls after the first n: with [`Fault::Fail`] on everything, what a process sees that was killed.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        (self.from, self.until) = (n.saturating_add(1), u64::MAX);
        self
    }

    fn applies(&mut self, operation: Operation, subject: &str) -> Option<Fault> {
        if self.operation.is_some_and(|wanted| wanted != operation) || !subject.starts_with(&self.prefix) {
            return None;
        }
        self.seen += 1;
        (self.from..=self.until)
            .contains(&self.seen)
            .then_some(self.fault)
    }
}

/// A store that misbehaves by rules, and remembers what was asked of it.
#[derive(Clone)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    rules: Arc<Mutex<Vec<Rule>>>,
    calls: Arc<Mutex<Vec<(Operation, String)>>>,
}

impl FaultyStorage {
    /// A wrapper without rules.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self {
            inner,
            rules: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// Adds a rule; of several that apply to a call the first added wins.
    #[must_use]
    pub fn with(self, rule: Rule) -> Self {
        self.add(rule);
        self
    }

    /// Adds a rule to a wrapper in use.
    pub fn add(&self, rule: Rule) {
        self.rules.lock().push(rule);
    }

    /// Makes the store behave again.
    pub fn clear(&self) {
        self.rules.lock().clear();
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<(Operation, String)> {
        self.calls.lock().clone()
    }

    fn fault(&self, operation: Operation, subject: &str) -> Option<Fault> {
        self.calls.lock().push((operation, subject.to_owned()));
        // Every rule counts the call, so that two rules on one operation do not shift each other.
        let mut rules = self.rules.lock();
        let faults: Vec<_> = rules
            .iter_mut()
            .map(|rule| rule.applies(operation, subject))
            .collect();
        faults.into_iter().flatten().next()
    }

    async fn run<T>(
        &self,
        operation: Operation,
        subject: &str,
        work: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let failed = |kind, cause| Err(StorageError::new(kind, operation, subject, cause));
        match self.fault(operation, subject) {
            None => work.await,
            Some(Fault::Fail(kind)) => failed(kind, "made to fail by a rule"),
            Some(Fault::LostAnswer(kind)) => {
                work.await?;
                failed(kind, "done, but the answer was lost by a rule")
            }
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                work.await
            }
        }
    }
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FaultyStorage({:?}, {} rules)",
            self.inner,
            self.rules.lock().len()
        )
    }
}

#[async_trait]
impl Storage for FaultyStorage {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.run(Operation::Put, id.as_str(), self.inner.put(id, data))
            .await
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.run(
            Operation::PutIfAbsent,
            id.as_str(),
            self.inner.put_if_absent(id, data),
        )
        .await
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn put_locked(&self, id: &BlobId, data: Bytes, lock: &ObjectLock) -> Result<(), StorageError> {
        let put = self.inner.put_locked(id, data, lock);
        self.run(Operation::Put, id.as_str(), put).await
    }

    async fn put_locked_if_absent(
        &self,
        id: &BlobId,
        data: Bytes,
        lock: &ObjectLock,
    ) -> Result<(), StorageError> {
        let put = self.inner.put_locked_if_absent(id, data, lock);
        self.run(Operation::PutIfAbsent, id.as_str(), put).await
    }

    async fn extend_lock(&self, id: &BlobId, lock: &ObjectLock) -> Result<(), StorageError> {
        let extended = self.inner.extend_lock(id, lock);
        self.run(Operation::ExtendLock, id.as_str(), extended).await
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.run(Operation::Get, id.as_str(), self.inner.get(id)).await
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.run(Operation::GetRange, id.as_str(), self.inner.get_range(id, range))
            .await
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.run(Operation::Metadata, id.as_str(), self.inner.metadata(id))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        self.run(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.run(Operation::Delete, id.as_str(), self.inner.delete(id))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStorage;

    #[tokio::test]
    async fn without_rules_nothing_changes() {
        crate::conformance::verify(Arc::new(FaultyStorage::new(Arc::new(MemoryStorage::new())))).await;
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_blob_and_the_nth_listing_fails() {
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()))
            .with(
                Rule::always(Fault::LostAnswer(StorageErrorKind::Unavailable))
                    .on(Operation::Put)
                    .nth(1),
            )
            .with(
                Rule::always(Fault::Fail(StorageErrorKind::Unavailable))
                    .on(Operation::List)
                    .nth(2),
            );
        let id = BlobId::from("p1");
        assert!(storage.put(&id, Bytes::from_static(b"x")).await.is_err());
        assert_eq!(storage.list("").await.unwrap().len(), 1);
        assert!(storage.list("").await.unwrap_err().is_transient());
        assert_eq!(storage.list("").await.unwrap().len(), 1);
        assert_eq!(storage.calls().len(), 4);
    }
}
