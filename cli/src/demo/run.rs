//! draft
use crate::{args::Demo, failure::Failure, show::out::Out};
/// draft
pub async fn run(_asked: &Demo, _out: &Out) -> Result<(), Failure> {
    Ok(())
}
