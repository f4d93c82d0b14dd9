//! What is there: a page of a listing, and whether there is one object. Each store's own ways are met here.

use object_store::{
    ObjectStoreExt as _,
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
    // `to_list_result`). So one letter less is asked for, and the rest left out here.
    let asked = match place.dialect {
        Dialect::Azure if !prefix.ends_with('/') => {
            let last = prefix.chars().next_back().map_or(0, char::len_utf8);
            &prefix[..prefix.len() - last]
        }
        _ => prefix,
    };
    let listed = store
        .list_paginated(Some(asked).filter(|asked| !asked.is_empty()), options)
        .await;
    let mut page = listed.map_err(|e| place.explain(Operation::List, &place.listing(prefix), &e))?;
    if asked != prefix {
        let listing = &mut page.result;
        listing
            .objects
            .retain(|object| object.location.as_ref().starts_with(prefix));
        listing
            .common_prefixes
            .retain(|folder| format!("{folder}/").starts_with(prefix));
    }
    page.page_token = page.page_token.filter(|token| !token.is_empty());
    Ok(page)
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
        let found = store.head(key).await;
        return match found.map_err(|e| place.explain(Operation::Metadata, subject, &e)) {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        };
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
