//! `cargo xtask pieces [NAME…]`: provides binaries from Go modules and prints where they are (e2e/src/go_pieces.rs).

use anyhow::{Context, Result};
use caravel_e2e::go_pieces::{Piece, provide};

/// Provides the named pieces; without a name, says which there are.
pub fn run(names: &[String]) -> Result<()> {
    if names.is_empty() {
        for piece in Piece::ALL {
            println!("{}", piece.name());
        }
    }
    for name in names {
        let piece = Piece::named(name)
            .with_context(|| format!("there is no piece `{name}`; `cargo xtask pieces` lists them"))?;
        println!("{}", provide(piece)?.display());
    }
    Ok(())
}
