//! Where keys come from: a `kube` watcher and a mapping from object to keys.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::Key;

/// A stream of keys that never ends by itself.
pub struct Source(BoxStream<'static, Key>);

impl Source {
    /// Watches objects; every listed, changed or deleted object gives the keys that `map` names. `map` only maps:
    /// deciding is the reconciler's. A broken watch is listed and watched again with backoff.
    pub fn watch<K, F>(api: Api<K>, config: watcher::Config, mut map: F) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        F: FnMut(&K) -> Vec<Key> + Send + 'static,
    {
        let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
        let keys = watcher(api, config).default_backoff().flat_map(move |event| {
            let keys = match event {
                Ok(
                    watcher::Event::Apply(object)
                    | watcher::Event::InitApply(object)
                    | watcher::Event::Delete(object),
                ) => map(&object),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => Vec::new(),
                Err(error) => {
                    tracing::warn!(kind, error = %super::chain(&error), "watch broke, it is started again");
                    Vec::new()
                }
            };
            stream::iter(keys)
        });
        Self(keys.boxed())
    }

    /// Watches the controller's own objects: each gives its own key.
    pub fn objects<K>(api: Api<K>, config: watcher::Config) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        Self::watch(api, config, |object: &K| vec![Key::of(object)])
    }

    /// Keys from anywhere else (a channel, a timer).
    pub fn keys(keys: impl Stream<Item = Key> + Send + 'static) -> Self {
        Self(keys.boxed())
    }
}

impl Stream for Source {
    type Item = Key;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Key>> {
        self.0.as_mut().poll_next(context)
    }
}
