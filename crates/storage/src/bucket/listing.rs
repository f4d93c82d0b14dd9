//! What is there: a page of a listing, and whether there is one object. Each store's own ways are met here.

use object_store::{
    ObjectMeta, ObjectStoreExt as _,
    list::{PaginatedListOptions, PaginatedListResult},
    path::Path,
};

use super::{BucketClient, Place, answer::Dialect};
use crate::{Operation, StorageError};

/// One page of the keys (and, with a delimiter, of the folders) that start with `prefix`, raw letters.
///
/// Errors: those of the store; an incomplete page is one.
pub async fn page<C: BucketClient>(
    store: &C,
    place: &Place,
    prefix: &str,
    options: PaginatedListOptions,
) -> Result<PaginatedListResult, StorageError> {
    // `object_store` leaves a blob out of Azure's listing whose name is the prefix itself (`azure/client.rs`, 0.14.2,
    // `to_list_result`): whether there is one is asked of the blob. It would be the first of the first page.
    let may_be_left_out = place.dialect == Dialect::Azure
        && options.page_token.is_none()
        && options.offset.as_deref().is_none_or(|offset| offset < prefix);
    let listed = store
        .list_paginated(Some(prefix).filter(|prefix| !prefix.is_empty()), options)
        .await;
    let mut page = listed.map_err(|e| place.explain(Operation::List, &place.listing(prefix), &e))?;
    if may_be_left_out && let Some(object) = named_as(store, place, prefix).await? {
        page.result.objects.insert(0, object);
    }
    page.page_token = page.page_token.filter(|token| !token.is_empty());
    Ok(page)
}

/// The object whose key is the prefix of a listing. Keys do not end with `/`.
async fn named_as<C: BucketClient>(
    store: &C,
    place: &Place,
    prefix: &str,
) -> Result<Option<ObjectMeta>, StorageError> {
    let Some(key) = Path::parse(prefix)
        .ok()
        .filter(|key| key.as_ref() == prefix && !prefix.is_empty())
    else {
        return Ok(None);
    };
    head(store, place, &key, Operation::List, &place.listing(prefix)).await
}

/// What Azure says of one object; its 404 tells a missing object from a missing container.
async fn head<C: BucketClient>(
    store: &C,
    place: &Place,
    key: &Path,
    operation: Operation,
    subject: &str,
) -> Result<Option<ObjectMeta>, StorageError> {
    match store
        .head(key)
        .await
        .map_err(|e| place.explain(operation, subject, &e))
    {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether there is an object of exactly this key.
///
/// Errors: those of the store; only its own word that the object is missing is `false`.
pub async fn exists<C: BucketClient>(
    store: &C,
    place: &Place,
    key: &Path,
    subject: &str,
) -> Result<bool, StorageError> {
    if place.dialect == Dialect::Azure {
        let found = head(store, place, key, Operation::Metadata, subject).await?;
        return Ok(found.is_some());
    }
    // A listing, since the 404 of HEAD does not tell a missing object from a missing bucket.
    let mut next = None;
    loop {
        let options = PaginatedListOptions {
            max_keys: Some(1),
            page_token: next,
            ..Default::default()
        };
        let page = page(store, place, key.as_ref(), options).await?;
        // A page may be empty and yet not the last.
        if page.page_token.is_none() || !page.result.objects.is_empty() {
            return Ok(page.result.objects.iter().any(|object| object.location == *key));
        }
        next = page.page_token;
    }
}
