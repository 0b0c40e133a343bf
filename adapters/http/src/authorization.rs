//! The header `Authorization` of a device: `Client <secret>`, a bare secret, or `Basic base64(client id:secret)`.
//!
//! Scheme words are read in any case. A secret may hold blanks. Basic is read in both alphabets of base64, padded or not.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use trunkline_core::Secret;
use trunkline_core::error::{Code, Fault, reason};
use trunkline_gate::Credentials;

const PADDED_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDED_OR_NOT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDED_OR_NOT);

/// The credentials in `headers`; a secret without an id is looked up in `domain`, the domain of the topic by id or route.
///
/// # Errors
/// Missing, damaged or a user's: UNAUTHENTICATED in each case.
pub(crate) fn read(headers: &HeaderMap, domain: &str) -> Result<Credentials, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(invalid("the request has two headers `Authorization`; send one"));
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| invalid("the header `Authorization` is not UTF-8"))?
        .trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim_start();
    let is_scheme = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is_scheme("Bearer") {
        return Err(users_token());
    }
    if is_scheme("Basic") {
        return basic(rest);
    }
    let secret = if is_scheme("Client") { rest } else { text };
    if secret.is_empty() {
        return Err(missing());
    }
    Ok(Credentials::of_domain(domain, Secret::new(secret.to_owned())))
}

fn basic(encoded: &str) -> Result<Credentials, Fault> {
    let malformed = || invalid("`Basic` takes the base64 of `<client id>:<client secret>`");
    let engine = if encoded.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    let bytes = engine.decode(encoded).map_err(|_| malformed())?;
    let pair = Secret::new(String::from_utf8(bytes).map_err(|_| malformed())?);
    match pair.expose().split_once(':') {
        Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
            Ok(Credentials::of_client(id, Secret::new(secret.to_owned())))
        }
        _ => Err(malformed()),
    }
}

fn missing() -> Fault {
    let message = "the request shows no client; send `Authorization: Client <client secret>`";
    Fault::new(Code::Unauthenticated, reason::CREDENTIALS_MISSING, message)
}

fn invalid(message: &str) -> Fault {
    Fault::new(Code::Unauthenticated, reason::CREDENTIALS_INVALID, message)
}

fn users_token() -> Fault {
    let message = "users cannot publish yet, and `Bearer` is for their tokens; a client publishes with `Authorization: Client <client secret>`";
    Fault::new(Code::Unauthenticated, "SCHEME_NOT_OFFERED", message)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read_value(value: &str) -> Result<Credentials, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        read(&headers, "home")
    }

    fn of_domain(secret: &str) -> Credentials {
        Credentials::of_domain("home", Secret::new(secret.to_owned()))
    }

    #[test]
    fn a_secret_is_read_with_and_without_its_scheme() {
        for (value, secret) in [
            ("Client s3cret", "s3cret"),
            ("client   s3cret ", "s3cret"),
            ("Client two words", "two words"),
            ("s3cret", "s3cret"),
            ("three bare words", "three bare words"),
            ("My Client 5", "My Client 5"),
            ("Bearers", "Bearers"),
            ("Client sécret", "sécret"),
        ] {
            assert_eq!(read_value(value), Ok(of_domain(secret)), "{value}");
        }
    }

    #[test]
    fn basic_is_read_in_both_alphabets_padded_or_not() {
        let expected = Credentials::of_client("id", Secret::new("a:b?>~ÿ".to_owned()));
        for value in [
            "Basic aWQ6YTpiPz5+w78=",
            "basic aWQ6YTpiPz5+w78",
            "BASIC aWQ6YTpiPz5-w78=",
            "Basic  aWQ6YTpiPz5-w78",
        ] {
            assert_eq!(read_value(value), Ok(expected.clone()), "{value}");
        }
    }

    #[test]
    fn what_admits_nobody_says_what_would() {
        for (value, reason) in [
            ("", reason::CREDENTIALS_MISSING),
            ("Client", reason::CREDENTIALS_MISSING),
            ("Client  ", reason::CREDENTIALS_MISSING),
            ("Basic", reason::CREDENTIALS_INVALID),
            ("Basic !", reason::CREDENTIALS_INVALID),
            ("Basic aWQ=", reason::CREDENTIALS_INVALID),
            ("Basic OnNlY3JldA==", reason::CREDENTIALS_INVALID),
            ("Basic aWQ6", reason::CREDENTIALS_INVALID),
            ("Bearer token", "SCHEME_NOT_OFFERED"),
            ("bearer", "SCHEME_NOT_OFFERED"),
        ] {
            let fault = read_value(value).unwrap_err();
            assert_eq!((fault.code, &*fault.reason), (Code::Unauthenticated, reason), "{value}");
        }
    }

    #[test]
    fn two_headers_are_not_guessed_between() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Client a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Client b"));
        assert_eq!(read(&headers, "home").unwrap_err().code, Code::Unauthenticated);
        assert_eq!(
            read(&HeaderMap::new(), "home").unwrap_err().reason,
            reason::CREDENTIALS_MISSING
        );
    }
}
