//! Only one that creates data mover pods and temporary volumes.
