//! Passwords that stand in files, so that they never stand on a command line or in a configuration.

use std::path::Path;

use evenkeel_core::config::{self, User};
use evenkeel_gateway::{Durability, Login, NamedUser};

/// The first line of a file.
pub(crate) fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let password = text.lines().next().unwrap_or_default().to_owned();
    if password.is_empty() {
        Err(format!("{} is empty, expected a password in its first line", file.display()))
    } else {
        Ok(password)
    }
}

/// The users of `gateway.users` with their passwords.
pub(crate) fn named_users(users: &[User]) -> Result<Vec<NamedUser>, String> {
    let named = |user: &User| {
        let login = match &user.node {
            None => None,
            Some(node) => Some(Login {
                user: node.user.clone().into_bytes(),
                password: secret(Path::new(&node.user_password_file))?.into_bytes(),
            }),
        };
        let password = secret(Path::new(&user.password_file))?;
        Ok(NamedUser {
            name: user.name.clone(),
            password,
            login,
            durability: user.durability.map(durability),
        })
    };
    users.iter().map(named).collect::<Result<_, String>>().map_err(|error| format!("gateway.users: {error}"))
}

/// What writes wait for, as the gateway calls it.
pub(crate) fn durability(written: config::Durability) -> Durability {
    match written {
        config::Durability::Async => Durability::Async,
        config::Durability::Replicated => Durability::Replicated,
    }
}
