//! Velero's custom resources. No client, no tokio: anyone's controller can import it.
