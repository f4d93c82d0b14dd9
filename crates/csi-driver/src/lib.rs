//! A CSI driver for tests and the sandbox; never in the product's image.
