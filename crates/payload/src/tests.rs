//! What is encoded decodes to the same value, and what decodes has one form.

use super::*;
use bytes::Bytes;
use proptest::{collection::vec, option::of, prelude::*};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn fields() -> impl Strategy<Value = Fields> {
    vec((".{0,6}", ".{1,6}"), 0..4)
}

fn form(generation: Generation) -> impl Strategy<Value = Vec<(String, Field)>> {
    let file = (".{0,4}", ".{0,4}", bytes()).prop_map(move |(name, mime, bytes)| match generation {
        Generation::Newer => Field::File(File { name, mime, bytes }),
        Generation::Older => Field::File(File { bytes, ..File::default() }),
    });
    vec((".{0,4}", prop_oneof![".{0,6}".prop_map(Field::Text), file]), 0..4)
}

fn body(generation: Generation) -> BoxedStrategy<Body> {
    let both = prop_oneof![Just(Body::None), ".*".prop_map(Body::Text), form(generation).prop_map(Body::Form)];
    let blob = ("[a-z/]{0,8}", bytes()).prop_map(|(mime, bytes)| Body::Blob { mime, bytes });
    match generation {
        Generation::Older => both.boxed(),
        Generation::Newer => prop_oneof![both, blob, ".*".prop_map(Body::Json)].boxed(),
    }
}

fn request(generation: Generation) -> impl Strategy<Value = Request> {
    (".*", body(generation), fields(), fields(), fields(), fields())
        .prop_map(|(url, body, path, query, headers, cookies)| Request { url, body, path, query, headers, cookies })
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (".*", any::<u32>(), ".*").prop_map(|(body, status, headers)| Response::Text { body, status, headers }),
        ".*".prop_map(Response::Json),
        (bytes(), of(".*")).prop_map(|(bytes, content_type)| Response::Blob { bytes, content_type }),
        (".*", ".*", ".*").prop_map(|(name, props, options)| Response::View { name, props, options }),
        (of(".*"), any::<u32>(), of(".*")).prop_map(|(body, status, page)| Response::Error { body, status, page }),
        (".*", of(any::<u32>())).prop_map(|(location, status)| Response::Redirect { location, status }),
        ".*".prop_map(Response::Uri),
        any::<u64>().prop_map(Response::Upgrade),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![".*".prop_map(Kind::Text), bytes().prop_map(Kind::Binary)];
    (any::<u64>(), kind).prop_map(|(id, kind)| Message { id, kind })
}

fn store_call() -> impl Strategy<Value = StoreCall> {
    prop_oneof![
        ".*".prop_map(StoreCall::Count),
        ".*".prop_map(StoreCall::Delete),
        ".*".prop_map(StoreCall::Find),
        ".*".prop_map(StoreCall::Get),
        ".*".prop_map(StoreCall::Has),
        ".*".prop_map(StoreCall::Insert),
        (".*", ".*").prop_map(|(id, document)| StoreCall::Update(id, document)),
        Just(StoreCall::Clear),
    ]
}

const GENERATIONS: [Generation; 2] = [Generation::Older, Generation::Newer];
const DIALECTS: [Dialect; 2] = [Dialect::Proposal, Dialect::Shipped];

fn whole(message: Message, dialect: Dialect) -> Bytes {
    message.encode(dialect).concat().into()
}

proptest! {
    #[test]
    fn requests_come_back(older in request(Generation::Older), newer in request(Generation::Newer)) {
        for (request, generation) in [(older, GENERATIONS[0]), (newer, GENERATIONS[1])] {
            let payload = request.encode(generation).unwrap();
            prop_assert_eq!(Request::decode(&payload, generation), Ok(request));
        }
    }

    #[test]
    fn responses_come_back(response in response()) {
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn messages_come_back(message in message()) {
        for dialect in DIALECTS {
            prop_assert_eq!(Message::decode(&whole(message.clone(), dialect), dialect), Ok(message.clone()));
        }
    }

    #[test]
    fn store_calls_come_back(call in store_call()) {
        let (name, payload) = call.encode();
        prop_assert_eq!(StoreCall::decode(name, &payload), Ok(call));
    }

    #[test]
    fn answers_of_stores_come_back(number: u32, json in ".*") {
        let answers = [
            (StoreAnswer::Number(number), ["Import", "Count", "Has"]),
            (StoreAnswer::Json(json), ["Find", "Get", "Insert"]),
            (StoreAnswer::Done, ["Delete", "Update", "Clear"]),
        ];
        for (answer, calls) in answers {
            for call in calls {
                prop_assert_eq!(StoreAnswer::decode(call, &answer.encode()), Ok(answer.clone()));
            }
        }
        prop_assert!(StoreAnswer::decode("Clear", &[0]).is_err());
        prop_assert!(StoreAnswer::decode("Launch", &[]).is_err());
    }

    #[test]
    fn names_of_stores_come_back(name in ".*") {
        prop_assert_eq!(decode_name(&encode_name(&name)), Ok(name));
    }

    #[test]
    fn a_message_is_encoded_once_for_many_sockets(message in message(), id: u64) {
        for dialect in DIALECTS {
            let mut payload = message.clone().encode(dialect).concat();
            set_receiver(&mut payload, id);
            prop_assert_eq!(Message::decode(&payload.into(), dialect), Ok(Message { id, ..message.clone() }));
        }
    }

    #[test]
    fn sessions_come_back(id in ".+", data in ".*", is_new: bool) {
        let session = Session { id, data, is_new };
        let older = Session::decode(&Session::encode(Some(&session), Generation::Older), Generation::Older);
        prop_assert_eq!(older, Ok(Some(session.clone())));
        let newer = Session::decode(&Session::encode(Some(&session), Generation::Newer), Generation::Newer);
        prop_assert_eq!(newer, Ok(Some(Session { is_new: false, ..session })));
    }

    #[test]
    fn whatever_decodes_has_one_form(payload in vec(prop_oneof![0u8..9, any::<u8>()], 0..60)) {
        for generation in GENERATIONS {
            if let Ok(request) = Request::decode(&payload, generation) {
                prop_assert_eq!(&request.encode(generation).unwrap()[..], &payload[..]);
            }
        }
        for generation in GENERATIONS {
            if let Ok(session) = Session::decode(&payload, generation) {
                prop_assert_eq!(&Session::encode(session.as_ref(), generation)[..], &payload[..]);
            }
        }
        for dialect in DIALECTS {
            let payload = Bytes::copy_from_slice(&payload);
            if let Ok(message) = Message::decode(&payload, dialect) {
                prop_assert_eq!(whole(message, dialect), payload);
            }
        }
        if let Ok(response) = Response::decode(&payload) {
            prop_assert_eq!(&response.encode()[..], &payload[..]);
        }
    }

    #[test]
    fn a_truncated_payload_is_invalid(response in response(), message in message(), cut in 1usize..16) {
        let payload = response.encode();
        prop_assert!(Response::decode(&payload[..payload.len().saturating_sub(cut)]).is_err());
        let payload = whole(message, Dialect::Shipped);
        prop_assert!(Message::decode(&payload.slice(..payload.len() - cut), Dialect::Shipped).is_err());
    }
}

#[test]
fn payloads_are_as_the_abi_has_them_byte_by_byte() {
    assert_eq!(Response::Upgrade(5).encode()[..], [7, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let message = Message { id: 258, kind: Kind::Text("hé".to_owned()) };
    let bytes = [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, b'h', 0xC3, 0xA9];
    assert_eq!(whole(message.clone(), Dialect::Shipped)[..], bytes);
    assert_eq!(whole(message, Dialect::Proposal)[8], 1);
    let request = Request {
        url: "/".to_owned(),
        query: vec![("a".to_owned(), "1".to_owned()), ("left out".to_owned(), String::new())],
        ..Request::default()
    };
    let bytes = [
        &[0, 0, 0, 0, 1, 0, 0, 0, b'/'][..],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a', 1, 0, 0, 0, b'1'],
        &[4, 0, 0, 0, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(request.encode(Generation::Newer).unwrap()[..], bytes.concat());
    let file = Field::File(File { name: "n".to_owned(), mime: "m".to_owned(), bytes: Bytes::from_static(b"!") });
    let form = Body::Form(vec![("t".to_owned(), Field::Text("v".to_owned())), ("f".to_owned(), file)]);
    let part =
        |generation| Request { body: form.clone(), ..Request::default() }.encode(generation).unwrap()[12..].to_vec();
    let text = [2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, b't', 0, 0, 0, 0, 1, 0, 0, 0, b'v', 1, 0, 0, 0, b'f', 1, 0, 0, 0];
    assert!(part(Generation::Older).starts_with(&[&text[..], &[1, 0, 0, 0, b'!']].concat()));
    let named = [1, 0, 0, 0, b'n', 1, 0, 0, 0, b'm', 1, 0, 0, 0, b'!'];
    assert!(part(Generation::Newer).starts_with(&[&text[..], &named].concat()));
}

#[test]
fn the_number_of_a_socket_is_a_payload() {
    assert_eq!(encode_id(258)[..], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(decode_id(&encode_id(u64::MAX)), Ok(u64::MAX));
    assert_eq!(decode_id(&[0; 7]).unwrap_err().offset, 0);
    assert_eq!(decode_id(&[0; 9]).unwrap_err().offset, 8);
}

#[test]
fn errors_say_where() {
    let offset = |payload: &[u8]| Response::decode(payload).unwrap_err().offset;
    assert_eq!(offset(&[1, 0]), 0);
    assert_eq!(offset(&[8, 0, 0, 0]), 0);
    assert_eq!(offset(&[1, 0, 0, 0, 9, 0, 0, 0, b'a']), 8);
    assert_eq!(offset(&[1, 0, 0, 0, 2, 0, 0, 0, b'a', 0xFF]), 9);
    assert_eq!(offset(&[7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 12);
    assert_eq!(offset(&[5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]), 8);
}

#[test]
fn an_older_guest_gets_the_closest_body_that_it_knows_or_none() {
    let text = |body| {
        Request::decode(&Request { body, ..Request::default() }.encode(Generation::Older)?, Generation::Older).ok()
    };
    let same = Some(Request { body: Body::Text("{}".to_owned()), ..Request::default() });
    assert_eq!(text(Body::Json("{}".to_owned())), same);
    assert_eq!(text(Body::Blob { mime: "a/b".to_owned(), bytes: Bytes::from_static(b"{}") }), same);
    assert_eq!(text(Body::Blob { mime: "a/b".to_owned(), bytes: Bytes::from_static(b"\xFF") }), None);
}

#[test]
fn no_session_has_one_form_too() {
    let none = Session::encode(None, Generation::Older);
    assert_eq!(Session::decode(&none, Generation::Older), Ok(None));
    assert_eq!(Session::decode(&[0; 12], Generation::Older).unwrap_err().offset, 8);
}

#[test]
fn a_session_may_be_set_by_a_string_or_by_bare_json() {
    let data = |payload: &[u8]| NewSession::decode_either(payload).map(|session| session.data);
    assert_eq!(data(b"\x02\0\0\0{}"), Ok("{}".to_owned()));
    assert_eq!(data(b"{\"a\":1}"), Ok("{\"a\":1}".to_owned()));
    assert_eq!(data(b"\x03\0\0\0{}").unwrap_err().offset, 4);
}
