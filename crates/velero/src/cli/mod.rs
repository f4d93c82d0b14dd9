//! Verbs as the user types them.
