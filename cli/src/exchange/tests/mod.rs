//! Files and shops: what is written is read back, what is wrong is told, and shops go through files and come out the same.

mod files;
mod shop;
