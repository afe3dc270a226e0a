//! What makes a tool another one, on hosts that are folders: their programs are scripts and files of a few bytes.

use super::*;
