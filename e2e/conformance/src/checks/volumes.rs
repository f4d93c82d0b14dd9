//! Later.
use super::topic;

topic![];
