//! Stores against a plain model, in memory and in a file.

use super::*;
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use std::{fs, path::Path, thread};
use tempfile::TempDir;
use test_peer::damaged;

fn stores() -> EmbeddedStores {
    let stores = EmbeddedStores::in_memory().unwrap();
    stores.import("s").unwrap();
    stores
}

fn insert(stores: &EmbeddedStores, document: Value) -> Result<Value, StoreError> {
    json_of(stores, StoreCall::Insert(document.to_string()))
}

fn json_of(stores: &EmbeddedStores, call: StoreCall) -> Result<Value, StoreError> {
    match stores.call("s", &call)? {
        StoreAnswer::Json(json) => Ok(serde_json::from_str(&json).unwrap()),
        other => panic!("{call:?} gave {other:?}"),
    }
}

fn invalid<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer.unwrap_err() {
        StoreError::Invalid(what) => what,
        other => panic!("{other:?}"),
    }
}

/// What stores are to be: documents in the order of insertion.
#[derive(Default)]
struct Model(Vec<(String, Map<String, Value>)>);

impl Model {
    fn call(&mut self, call: &StoreCall) -> Result<Answer, u32> {
        let place = |id: &str| self.0.iter().position(|(held, _)| held == id).ok_or(2_u32);
        let found = |criteria: &str| -> Vec<Value> {
            let criteria: Map<String, Value> = serde_json::from_str(criteria).unwrap();
            let fitting = |document: &Map<String, Value>| criteria.iter().all(|(k, v)| document.get(k) == Some(v));
            self.0.iter().filter(|(_, document)| fitting(document)).map(|(_, d)| Value::Object(d.clone())).collect()
        };
        match call {
            StoreCall::Count(criteria) => Ok(Answer::Number(found(criteria).len())),
            StoreCall::Find(criteria) => Ok(Answer::Json(Value::Array(found(criteria)))),
            StoreCall::Has(id) => Ok(Answer::Number(usize::from(place(id).is_ok()))),
            StoreCall::Get(id) => Ok(Answer::Json(Value::Object(self.0[place(id)?].1.clone()))),
            StoreCall::Insert(document) => {
                let document: Map<String, Value> = serde_json::from_str(document).unwrap();
                let id = document["id"].as_str().unwrap().to_owned();
                if place(&id).is_ok() {
                    return Err(4);
                }
                self.0.push((id, document.clone()));
                Ok(Answer::Json(Value::Object(document)))
            }
            StoreCall::Update(id, members) => {
                let place = place(id)?;
                self.0[place].1.extend(serde_json::from_str::<Map<String, Value>>(members).unwrap());
                Ok(Answer::Done)
            }
            StoreCall::Delete(id) => {
                let place = place(id)?;
                self.0.remove(place);
                Ok(Answer::Done)
            }
            StoreCall::Clear => {
                self.0.clear();
                Ok(Answer::Done)
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Number(usize),
    Json(Value),
}

fn answer(stores: &EmbeddedStores, store: &str, call: &StoreCall) -> Result<Answer, u32> {
    match stores.call(store, call).map_err(|error| error.status())? {
        StoreAnswer::Done => Ok(Answer::Done),
        StoreAnswer::Number(number) => Ok(Answer::Number(number as usize)),
        StoreAnswer::Json(json) => Ok(Answer::Json(serde_json::from_str(&json).unwrap())),
    }
}

fn call() -> impl Strategy<Value = StoreCall> {
    let value = || prop_oneof![Just(json!(null)), (0..3).prop_map(|n| json!(n)), Just(json!([{"x": "é"}]))];
    let criteria = || {
        prop_oneof![
            Just(json!({}).to_string()),
            value().prop_map(|a| json!({"a": a}).to_string()),
            (value(), value()).prop_map(|(a, b)| json!({"a": a, "b": b}).to_string()),
        ]
    };
    let document = ("[a-d]", value(), value()).prop_map(|(id, a, b)| json!({"id": id, "a": a, "b": b}).to_string());
    prop_oneof![
        2 => criteria().prop_map(StoreCall::Count),
        2 => "[a-d]".prop_map(StoreCall::Delete),
        2 => criteria().prop_map(StoreCall::Find),
        2 => "[a-d]".prop_map(StoreCall::Get),
        2 => "[a-d]".prop_map(StoreCall::Has),
        8 => document.prop_map(StoreCall::Insert),
        4 => ("[a-d]", criteria()).prop_map(|(id, members)| StoreCall::Update(id, members)),
        1 => Just(StoreCall::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn stores_are_as_the_model_has_them(calls in vec((0usize..2, call()), 0..40)) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("stores");
        let mut models = [Model::default(), Model::default()];
        let memory = EmbeddedStores::in_memory().unwrap();
        let file = EmbeddedStores::file(&path).unwrap();
        for store in ["s", "t"] {
            memory.import(store).unwrap();
            file.import(store).unwrap();
        }
        for (which, call) in calls {
            let expected = models[which].call(&call);
            prop_assert_eq!(&answer(&memory, ["s", "t"][which], &call), &expected);
            prop_assert_eq!(&answer(&file, ["s", "t"][which], &call), &expected);
        }
        drop(file);
        let file = EmbeddedStores::file(&path).unwrap();
        let all = StoreCall::Find("{}".to_owned());
        for (model, store) in models.iter_mut().zip(["s", "t"]) {
            prop_assert_eq!(answer(&file, store, &all), model.call(&all));
        }
    }

    #[test]
    fn no_text_ends_more_than_its_call(text in ".*", id in ".{0,4}") {
        let stores = stores();
        for call in [
            StoreCall::Insert(text.clone()),
            StoreCall::Insert(format!("{{\"id\":{}}}", Value::String(text.clone()))),
            StoreCall::Find(text.clone()),
            StoreCall::Update(id.clone(), text.clone()),
            StoreCall::Get(id),
        ] {
            if let Err(error) = stores.call("s", &call) {
                prop_assert!(matches!(error, StoreError::Invalid(_) | StoreError::NoSuchRecord), "{}", error);
            }
        }
        stores.call("s", &StoreCall::Find("{}".to_owned())).unwrap();
    }
}

#[test]
fn a_document_without_an_id_gets_one_of_its_own() {
    let stores = stores();
    let (one, other) = (insert(&stores, json!({"a": 1})).unwrap(), insert(&stores, json!({"a": 1})).unwrap());
    assert_eq!(one["id"].as_str().unwrap().len(), 22);
    assert_ne!(one["id"], other["id"]);
    assert_eq!(json_of(&stores, StoreCall::Get(one["id"].as_str().unwrap().to_owned())), Ok(one));
}

#[test]
fn what_is_wrong_with_a_document_is_said() {
    let stores = stores();
    let said = |document: &str| invalid(stores.call("s", &StoreCall::Insert(document.to_owned())));
    assert!(said("{").contains("not a JSON object"));
    assert!(said("[]").contains("not a JSON object"));
    assert!(said(r#"{"id":1}"#).contains("the document's id is 1, not a string"));
    assert!(said(r#"{"id":""}"#).contains("the id is empty"));
    assert!(said(&format!(r#"{{"id":"{}"}}"#, "i".repeat(1025))).contains("the id has 1025 bytes; the limit is 1024"));
    assert!(said(&format!(r#"{{"a":"{}"}}"#, "a".repeat(1024 * 1024))).contains("the limit is 1048576"));
    assert!(said(&"[".repeat(100_000)).contains("not a JSON object"));
    // Within the limit as it comes, over it as it is kept.
    assert!(said(&format!(r#"{{"a":[{}1E9]}}"#, "1E9,".repeat(200_000))).contains("the limit is 1048576"));
    insert(&stores, json!({"id": "a"})).unwrap();
    assert!(said(r#"{"id":"a"}"#).contains(r#"the id "a" is taken"#));
    let update = |members: &str| stores.call("s", &StoreCall::Update("a".to_owned(), members.to_owned()));
    assert!(invalid(update(r#"{"id":"b"}"#)).contains("cannot change"));
    assert_eq!(update(r#"{"id":"a","n":null}"#), Ok(StoreAnswer::Done));
    assert_eq!(json_of(&stores, StoreCall::Get("a".to_owned())), Ok(json!({"id": "a", "n": null})));
    let mebibyte = format!(r#"{{"m":"{}"}}"#, "m".repeat(1024 * 1024 - 8));
    assert!(invalid(update(&mebibyte)).contains("the updated document has 1048594 bytes"));
    assert_eq!(invalid(stores.import("")), "the store's name is empty; give it at least one character");
    assert_eq!(stores.call("other", &StoreCall::Clear), Err(StoreError::NoSuchStore));
}

#[test]
fn a_number_is_equal_however_it_is_written() {
    let stores = stores();
    let document = insert(&stores, json!({"id": "a", "n": 1, "deep": [{"n": 2.0}]})).unwrap();
    for fitting in [r#"{"n":1.0}"#, r#"{"deep":[{"n":2}]}"#] {
        assert_eq!(json_of(&stores, StoreCall::Find(fitting.to_owned())), Ok(json!([document])));
    }
    for not in [r#"{"n":2}"#, r#"{"deep":[{}]}"#, r#"{"deep":[{"n":2},1]}"#, r#"{"none":null}"#] {
        assert_eq!(json_of(&stores, StoreCall::Find(not.to_owned())), Ok(json!([])), "{not}");
    }
}

#[test]
fn memory_is_limited_and_given_back() {
    let stores = EmbeddedStores::limited(2000).unwrap();
    stores.import("s").unwrap();
    let fill = || (0..).find_map(|_| insert(&stores, json!({"a": "x".repeat(100)})).err()).unwrap();
    assert!(invalid::<()>(Err(fill())).contains("the limit in memory is 2000"));
    let Ok(StoreAnswer::Number(count)) = stores.call("s", &StoreCall::Count("{}".to_owned())) else { panic!() };
    assert!((5..=10).contains(&count), "{count}");
    for _ in 0..3 {
        stores.call("s", &StoreCall::Clear).unwrap();
        assert!(invalid::<()>(Err(fill())).contains("the limit in memory is 2000"));
        assert_eq!(stores.call("s", &StoreCall::Count("{}".to_owned())), Ok(StoreAnswer::Number(count)));
    }
    let Value::Array(held) = json_of(&stores, StoreCall::Find("{}".to_owned())).unwrap() else { panic!() };
    let id = held[0]["id"].as_str().unwrap();
    let longer = json!({"a": "x".repeat(500)}).to_string();
    assert!(invalid(stores.call("s", &StoreCall::Update(id.to_owned(), longer))).contains("the limit in memory"));
    let shorter = StoreCall::Update(id.to_owned(), r#"{"a":""}"#.to_owned());
    assert_eq!(stores.call("s", &shorter), Ok(StoreAnswer::Done));
    for document in &held {
        let delete = StoreCall::Delete(document["id"].as_str().unwrap().to_owned());
        assert_eq!(stores.call("s", &delete), Ok(StoreAnswer::Done));
    }
    assert!(invalid::<()>(Err(fill())).contains("the limit in memory is 2000"));
    assert_eq!(stores.call("s", &StoreCall::Count("{}".to_owned())), Ok(StoreAnswer::Number(count)));
    let names = (0..).find_map(|n| stores.import(&format!("store {n}")).err()).unwrap();
    assert!(invalid::<()>(Err(names)).contains("the limit in memory is 2000"));
}

#[test]
fn of_two_instances_that_insert_an_id_one_gets_it() {
    let stores = stores();
    let of = |instance: u32| {
        let stores = &stores;
        move || (0..200).filter(|n| insert(stores, json!({"id": n.to_string(), "by": instance})).is_ok()).count()
    };
    let both = thread::scope(|scope| {
        let instances = [1, 2].map(|instance| scope.spawn(of(instance)));
        instances.map(|instance| instance.join().unwrap())
    });
    assert_eq!(both.iter().sum::<usize>(), 200);
    for (by, count) in [1, 2].into_iter().zip(both) {
        let call = StoreCall::Count(json!({"by": by}).to_string());
        assert_eq!(answer(&stores, "s", &call), Ok(Answer::Number(count)));
    }
}

#[test]
fn errors_have_the_statuses_of_the_abi() {
    let text = String::new();
    let errors = [
        StoreError::NoSuchStore,
        StoreError::NoSuchRecord,
        StoreError::Unknown(text.clone()),
        StoreError::Invalid(text),
        StoreError::Unsupported,
    ];
    assert_eq!(errors.map(|error| error.status()), [1, 2, 3, 4, 5]);
}

fn refusal(path: &Path) -> String {
    match EmbeddedStores::file(path) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_is_locked_and_stays() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("stores");
    let stores = EmbeddedStores::file(&path).unwrap();
    stores.import("s").unwrap();
    let document = insert(&stores, json!({"id": "a"})).unwrap();
    let said = refusal(&path);
    assert!(said.contains("another process has it open; stop that process"), "{said}");
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    drop(stores);
    let stores = EmbeddedStores::file(&path).unwrap();
    assert_eq!(json_of(&stores, StoreCall::Get("a".to_owned())), Ok(document));
}

#[test]
fn a_file_that_is_not_a_store_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes");
    for content in [b"my notes".to_vec(), vec![b'x'; 100_000]] {
        fs::write(&path, &content).unwrap();
        let said = refusal(&path);
        assert!(said.contains("it is not a store; name another file"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert!(refusal(directory.path()).contains("directory"));
    assert!(refusal(&directory.path().join("none/stores")).contains("No such file"));

    let foreign = directory.path().join("database");
    let table = redb::TableDefinition::<u64, u64>::new("theirs");
    let database = redb::Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let said = refusal(&foreign);
    assert!(said.contains("a database of something else"), "{said}");
}

/// The bytes of a file with two stores, of documents that need pages of several sizes and some that were deleted.
fn file_of_stores(path: &Path) -> Vec<u8> {
    let stores = EmbeddedStores::file(path).unwrap();
    for store in ["s", "t"] {
        stores.import(store).unwrap();
        for number in 0..60_usize {
            let document = json!({"id": number.to_string(), "text": "x".repeat(number * number)});
            stores.call(store, &StoreCall::Insert(document.to_string())).unwrap();
        }
        for number in (0..60).step_by(3) {
            stores.call(store, &StoreCall::Delete(number.to_string())).unwrap();
        }
    }
    drop(stores);
    fs::read(path).unwrap()
}

fn all_of(stores: &EmbeddedStores) -> [Result<Answer, u32>; 2] {
    ["s", "t"].map(|store| answer(stores, store, &StoreCall::Find("{}".to_owned())))
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is_or_has_lost_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("stores");
    let bytes = file_of_stores(&path);
    let whole = all_of(&EmbeddedStores::file(&path).unwrap());
    let mut refused = 0;
    for seed in 0..2000 {
        let damaged = damaged(&bytes, seed);
        fs::write(&path, &damaged).unwrap();
        match EmbeddedStores::file(&path) {
            Ok(stores) => assert!(damaged.is_empty() || all_of(&stores) == whole, "seed {seed} lost documents"),
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains(path.to_str().unwrap()) && !said.contains('\n'), "seed {seed}: {said}");
                assert!(!said.contains(['`', '(']), "no text of a panic, seed {seed}: {said}");
                assert!(fs::read(&path).unwrap() == damaged, "seed {seed} changed the file: {said}");
                refused += 1;
            }
        }
    }
    assert!((500..2000).contains(&refused), "{refused}");
}
