//! Who logs in: from flags, or asked for on the terminal.

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use trunkline_core::Secret;

use crate::Error;

/// What a user logs in with.
pub(crate) struct Login {
    pub(crate) email: String,
    pub(crate) password: Secret,
}

impl Login {
    /// Takes what the flags say and asks for the rest.
    pub(crate) fn ask(email: Option<&str>, password_file: Option<&Path>) -> Result<Self, Error> {
        let email = match email {
            Some(email) => email.to_owned(),
            None => ask_email()?,
        };
        let password = match password_file {
            Some(path) => password_in(path)?,
            None => rpassword::prompt_password("Password: ")
                .map(Secret::new)
                .map_err(|_| Error::NobodyToAsk)?,
        };
        Ok(Self { email, password })
    }
}

fn ask_email() -> Result<String, Error> {
    eprint!("E-mail: ");
    io::stderr().flush().map_err(Error::Output)?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match line.trim() {
        email if read.is_ok() && !email.is_empty() => Ok(email.to_owned()),
        _ => Err(Error::NobodyToAsk),
    }
}

/// The password in a file, without the newline that editors put at the end.
fn password_in(path: &Path) -> Result<Secret, Error> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::PasswordFile {
        path: path.to_owned(),
        cause,
    })?;
    let text = Secret::new(text);
    let line = text.expose();
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newline_at_the_end_of_a_password_file_is_no_part_of_the_password() {
        let dir = trunkline_testkit::free_dir();
        let path = dir.path().join("password");
        for (text, password) in [("a b\n", "a b"), ("a b \r\n", "a b "), ("a\n\n", "a\n"), ("a", "a")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(password_in(&path).unwrap().expose(), password);
        }
        let missing = password_in(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none cannot be read: "), "{missing}");
    }
}
