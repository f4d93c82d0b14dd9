//! Where keys come from: a `kube` watcher and a mapping from object to keys.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context as Waker, Poll};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::Key;
use crate::context::Context;
use crate::decoded::{self, Decoded, Undecodable};

/// A stream of keys that never ends by itself.
pub struct Source(BoxStream<'static, Key>);

impl Source {
    /// Watches objects; every listed, changed or deleted object gives the keys that `map` names. `map` only maps:
    /// deciding is the reconciler's. A broken watch is listed and watched again with backoff. An object that does not
    /// decode gives no keys and a warning.
    pub fn watch<K, F>(api: Api<K>, config: watcher::Config, map: F) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
        F: FnMut(&K) -> Vec<Key> + Send + 'static,
    {
        Self::passing_over(decoded::api(api), config, map, |_| None)
    }

    /// Watches objects, each giving its own key. Of a kind that another controller is responsible for.
    pub fn objects<K>(api: Api<K>, config: watcher::Config) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        Self::watch(api, config, |object: &K| vec![Key::of(object)])
    }

    /// As [`watch`](Self::watch), for the one controller of the kind: an object that does not decode is also refused
    /// in its own status, where its kind's status can hold that.
    pub fn own<K, F>(context: &Context, map: F) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
        F: FnMut(&K) -> Vec<Key> + Send + 'static,
    {
        let api = decoded::api(context.api::<K>());
        let (writing, clock) = (api.clone(), context.clock.clone());
        Self::passing_over(api, watcher::Config::default(), map, move |bad| {
            Some(decoded::refuse(writing.clone(), bad, clock.now()).boxed())
        })
    }

    fn passing_over<K, F, R>(api: Api<Decoded<K>>, config: watcher::Config, mut map: F, refuse: R) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
        F: FnMut(&K) -> Vec<Key> + Send + 'static,
        R: Fn(Box<Undecodable>) -> Option<BoxFuture<'static, ()>> + Send + 'static,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let keys = watcher(api, config).default_backoff().then(move |event| {
            let mut refusal = None;
            let keys = match event {
                Ok(
                    watcher::Event::Apply(Decoded::Object(object))
                    | watcher::Event::InitApply(Decoded::Object(object))
                    | watcher::Event::Delete(Decoded::Object(object)),
                ) => map(&object),
                Ok(
                    watcher::Event::Apply(Decoded::Bad(bad)) | watcher::Event::InitApply(Decoded::Bad(bad)),
                ) => {
                    bad.warn();
                    refusal = refuse(bad);
                    Vec::new()
                }
                Ok(
                    watcher::Event::Delete(Decoded::Bad(_)) | watcher::Event::Init | watcher::Event::InitDone,
                ) => Vec::new(),
                Err(error) => {
                    tracing::warn!(kind, error = %super::chain(&error), "watch broke, it is started again");
                    Vec::new()
                }
            };
            async move {
                if let Some(refusal) = refusal {
                    refusal.await;
                }
                stream::iter(keys)
            }
        });
        Self(keys.flatten().boxed())
    }

    /// Keys from anywhere else (a channel, a timer).
    pub fn keys(keys: impl Stream<Item = Key> + Send + 'static) -> Self {
        Self(keys.boxed())
    }
}

impl Stream for Source {
    type Item = Key;
    fn poll_next(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Option<Key>> {
        self.0.as_mut().poll_next(waker)
    }
}
