//! Creating an object only where there is none, also when the answer is lost.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, path::Path};

use super::{BucketClient, Place};
use crate::{Operation, StorageError, StorageErrorKind};

/// How often a create is tried again when the store did not say whether it was done.
const CREATE_ATTEMPTS: u32 = 4;

/// Creates the object with the store's condition that there is none. When the answer is lost the object is read back:
/// these very bytes mean that it was this call that created it.
///
/// Errors: [`StorageErrorKind::AlreadyExists`]; [`StorageErrorKind::Unsupported`] where the store refuses
/// the condition.
pub async fn create<C: BucketClient>(
    store: &C,
    place: &Place,
    key: &Path,
    subject: &str,
    data: Bytes,
) -> Result<(), StorageError> {
    let mut answer_lost = false;
    let mut attempt = 1;
    loop {
        let options = PutOptions {
            mode: PutMode::Create,
            ..Default::default()
        };
        let Err(error) = store.put_opts(key, data.clone().into(), options).await else {
            return Ok(());
        };
        let error = place.explain(Operation::PutIfAbsent, subject, &error);
        match error.kind() {
            StorageErrorKind::AlreadyExists if !answer_lost => return Err(error),
            StorageErrorKind::AlreadyExists | StorageErrorKind::Unavailable => {}
            _ => return Err(error),
        }
        answer_lost = true;
        if let Ok(Some(held)) = read_back(store, place, key, subject).await {
            return if held == data {
                Ok(())
            } else {
                Err(StorageError::already_exists(&subject.into()))
            };
        }
        if attempt == CREATE_ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(200) * 4u32.pow(attempt - 1)).await;
        attempt += 1;
    }
}

async fn read_back<C: BucketClient>(
    store: &C,
    place: &Place,
    key: &Path,
    subject: &str,
) -> Result<Option<Bytes>, StorageError> {
    let read = async { store.get(key).await?.bytes().await };
    match read.await.map_err(|e| place.explain(Operation::Get, subject, &e)) {
        Ok(held) => Ok(Some(held)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
