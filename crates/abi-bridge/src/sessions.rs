//! The sessions of a server's clients, in memory, and the cookie that names a client's session.

use super::codec::Session;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use lru::LruCache;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use std::num::NonZeroUsize;

/// The cookie's name.
pub(super) const COOKIE: &str = "session_id";
/// The maximum number of sessions; a new one replaces the least recently used.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// The largest data of a session, in bytes of JSON.
const MAX_DATA: usize = 64 * 1024;

/// The sessions that all instances of a server share.
pub(super) struct Sessions(Mutex<LruCache<String, String>>);

impl Default for Sessions {
    fn default() -> Self {
        Sessions(Mutex::new(LruCache::sparse(MAX_SESSIONS)))
    }
}

impl Sessions {
    /// The session of an id that a client sent.
    pub(super) fn get(&self, id: &str) -> Option<Session> {
        let data = self.0.lock().get(id)?.clone();
        Some(Session { id: id.to_owned(), data, is_new: false })
    }

    /// Makes a session, whose id no client can guess or choose. An error says what the data is not.
    pub(super) fn create(&self, data: String) -> Result<Session, String> {
        check(&data)?;
        let id = data_encoding::BASE64URL_NOPAD.encode(&rand::random::<[u8; 24]>());
        self.0.lock().put(id.clone(), data.clone());
        Ok(Session { id, data, is_new: true })
    }

    /// Ends a session.
    pub(super) fn remove(&self, id: &str) {
        self.0.lock().pop(id);
    }

    /// Replaces the data of a session; false if there is none of this id. An error says what the data is not.
    pub(super) fn set(&self, id: &str, data: String) -> Result<bool, String> {
        check(&data)?;
        Ok(self.0.lock().get_mut(id).map(|held| *held = data).is_some())
    }
}

fn check(data: &str) -> Result<(), String> {
    if data.len() > MAX_DATA {
        return Err(format!("the session's data has {} bytes; the limit is {MAX_DATA}", data.len()));
    }
    match serde_json::from_str::<IgnoredAny>(data) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the session's data is not valid JSON: {error}")),
    }
}

/// The id that a client sent, which may be of no session.
pub(super) fn cookie_of(headers: &HeaderMap) -> Option<String> {
    cookies(headers).find(|cookie| cookie.name() == COOKIE).map(|cookie| cookie.value().to_owned())
}

/// The cookies of a request; those that RFC 6265 does not allow are skipped.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'_>> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| str::from_utf8(field.as_bytes()).ok());
    fields.flat_map(Cookie::split_parse).flatten()
}

/// What makes a client send this id from now on.
pub(super) fn set_cookie(id: &str, secure: bool) -> HeaderValue {
    let cookie = Cookie::build((COOKIE, id)).path("/").http_only(true).same_site(SameSite::Lax).secure(secure);
    match HeaderValue::from_str(&cookie.to_string()) {
        Ok(value) => value,
        Err(_) => unreachable!("the ids of sessions are base64url"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::{collections::HashSet, sync::Arc, thread};

    #[test]
    fn a_session_is_kept_until_it_is_replaced() {
        let sessions = Sessions::default();
        assert_eq!(sessions.get("chosen"), None);
        assert_eq!(sessions.set("chosen", "{}".to_owned()), Ok(false));
        assert_eq!(sessions.get("chosen"), None);
        let made = sessions.create(r#"{"a":1}"#.to_owned()).unwrap();
        assert!(made.is_new);
        assert_eq!(made.id.len(), 32);
        assert_eq!(sessions.get(&made.id), Some(Session { is_new: false, ..made.clone() }));
        assert_eq!(sessions.set(&made.id, "2".to_owned()), Ok(true));
        assert_eq!(sessions.get(&made.id).unwrap().data, "2");
        sessions.remove(&made.id);
        assert_eq!(sessions.get(&made.id), None);
    }

    #[test]
    fn invalid_session_data_is_refused_and_changes_nothing() {
        let sessions = Sessions::default();
        let made = sessions.create("1".to_owned()).unwrap();
        let whole = format!("\"{}\"", "a".repeat(MAX_DATA - 2));
        for (data, said) in [
            (format!("{whole} "), "the session's data has 65537 bytes; the limit is 65536"),
            ("{".to_owned(), "the session's data is not valid JSON"),
            (String::new(), "the session's data is not valid JSON"),
            ("1 2".to_owned(), "the session's data is not valid JSON"),
        ] {
            assert!(sessions.create(data.clone()).unwrap_err().starts_with(said));
            assert!(sessions.set(&made.id, data).unwrap_err().starts_with(said));
        }
        assert_eq!(sessions.get(&made.id).unwrap().data, "1");
        assert_eq!(sessions.set(&made.id, whole), Ok(true));
    }

    #[test]
    fn the_session_that_was_used_least_recently_goes_first() {
        let sessions = Sessions::default();
        let ids: Vec<_> = (0..MAX_SESSIONS.get()).map(|_| sessions.create("1".to_owned()).unwrap().id).collect();
        assert!(sessions.get(&ids[0]).is_some());
        assert_eq!(sessions.set(&ids[1], "2".to_owned()), Ok(true));
        let more: Vec<_> = (0..2).map(|_| sessions.create("1".to_owned()).unwrap().id).collect();
        let there: Vec<_> = ids.iter().chain(&more).map(|id| sessions.get(id).is_some()).collect();
        assert_eq!(there[..5], [true, true, false, false, true]);
        assert_eq!(there.iter().filter(|there| **there).count(), MAX_SESSIONS.get());
    }

    #[test]
    fn instances_share_sessions() {
        let sessions = Arc::new(Sessions::default());
        let instances = [(); 4].map(|()| {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || (0..100).map(|_| sessions.create("1".to_owned()).unwrap().id).collect::<Vec<_>>())
        });
        let ids: HashSet<_> = instances.into_iter().flat_map(|instance| instance.join().unwrap()).collect();
        assert_eq!(ids.len(), 400);
        assert!(ids.iter().all(|id| sessions.get(id).is_some()));
    }

    #[test]
    fn the_cookie_comes_back() {
        let id = Sessions::default().create("1".to_owned()).unwrap().id;
        let plain = set_cookie(&id, false);
        assert_eq!(plain, format!("session_id={id}; HttpOnly; SameSite=Lax; Path=/").as_str());
        assert_eq!(set_cookie(&id, true), format!("session_id={id}; HttpOnly; SameSite=Lax; Secure; Path=/").as_str());
        let mut headers = HeaderMap::new();
        assert_eq!(cookie_of(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; none; =c; xsession_id=d"));
        assert_eq!(cookie_of(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_bytes(b"session_id=\xFF").unwrap());
        headers.append(header::COOKIE, HeaderValue::from_str(&format!("e=f; session_id={id};g=h")).unwrap());
        assert_eq!(cookie_of(&headers), Some(id));
    }

    proptest! {
        #[test]
        fn no_cookie_field_panics(fields in vec(vec(prop_oneof![Just(b'='), Just(b';'), any::<u8>()], 0..30), 0..3)) {
            let mut headers = HeaderMap::new();
            for value in fields.iter().filter_map(|field| HeaderValue::from_bytes(field).ok()) {
                headers.append(header::COOKIE, value);
            }
            let found = cookies(&headers).any(|cookie| cookie.name() == COOKIE);
            prop_assert_eq!(cookie_of(&headers).is_some(), found);
        }
    }
}
