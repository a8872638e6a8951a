//! The user that nodes and portals are to a broker that asks.

use crate::config::load::Loaded;
use crate::config::shape::Broker;
use crate::failure::Failure;

/// Who nodes and portals say that they are to the broker: the configured user, and the first line of the password's file.
///
/// # Errors
/// That file cannot be read.
pub fn login(loaded: &Loaded) -> Result<Option<(String, String)>, Failure> {
    let Broker { user, password_file, .. } = &loaded.config.broker;
    if user.is_empty() {
        return Ok(None);
    }
    if password_file.as_os_str().is_empty() {
        return Ok(Some((user.clone(), String::new())));
    }
    let path = loaded.base().join(password_file);
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
    Ok(Some((user.clone(), text.lines().next().unwrap_or_default().to_owned())))
}
