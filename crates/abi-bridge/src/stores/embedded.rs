//! Stores in the embedded database redb, in memory or in one file.

use super::{OpenError, StoreError, Stores, caught::caught, fits, limited, name, object, trial::Trial};
use crate::codec::{StoreAnswer, StoreCall};
use parking_lot::RwLock;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use serde_json::{Map, Value};
use std::{
    fmt, fs,
    io::ErrorKind,
    panic::resume_unwind,
    path::{Path, PathBuf},
};

/// What all stores in memory may hold, in bytes of documents, ids and names with [`OVERHEAD`] for each. The database
/// rounds up: filled with documents of 2000 bytes, the worst of four sizes, the process grew by 3.2 times this.
const MAX_MEMORY: u64 = 64 * 1024 * 1024;
/// What `Find` may give, in bytes: all of what stores in memory may hold, and of a file as much.
const MAX_FOUND: usize = 64 * 1024 * 1024;
/// What the database needs for a document besides its bytes: full of the smallest ones, it takes no more than counted.
const OVERHEAD: usize = 128;
/// What the database caches of a file, in bytes.
const CACHE: usize = 16 * 1024 * 1024;
/// How often a call that has not begun is tried on a file that is opened again: errors of other threads' calls close it.
const ATTEMPTS: usize = 3;

/// Numbers about the whole: [`FORMAT`], [`NEXT`] and [`USED`].
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The numbers of stores, by name.
const STORES: TableDefinition<'_, &str, u64> = TableDefinition::new("stores");
/// Documents by the number of their store and their own, which grows with every insertion.
const DOCUMENTS: TableDefinition<'_, (u64, u64), &str> = TableDefinition::new("documents");
/// The numbers of documents, by the number of their store and their id.
const IDS: TableDefinition<'_, (u64, &str), u64> = TableDefinition::new("ids");

/// The version of these tables.
const FORMAT: &str = "format";
/// The next number of a store or document.
const NEXT: &str = "next";
/// How many bytes are held, counted as [`MAX_MEMORY`] has it.
const USED: &str = "used";

/// Stores in memory, which end with this value, or in a file. A document has up to one mebibyte, a name and an id up
/// to 1024 bytes, and what `Find` gives up to 64 mebibytes, which is also what all stores in memory hold.
///
/// After an error of the disk, a full one for instance, the call fails and the stores go on with what was on disk.
pub struct EmbeddedStores {
    /// `None` after an error of the disk, until the file is open again.
    database: RwLock<Option<Database>>,
    /// Where the file is; none in memory.
    path: Option<PathBuf>,
    limit: Option<u64>,
}

impl fmt::Debug for EmbeddedStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EmbeddedStores { database: _, path, limit } = self;
        f.debug_struct("EmbeddedStores").field("path", path).field("limit", limit).finish_non_exhaustive()
    }
}

impl EmbeddedStores {
    /// Empty stores in memory.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if the database fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::limited(MAX_MEMORY)
    }

    pub(super) fn limited(limit: u64) -> Result<Self, StoreError> {
        // What is in memory already needs no cache.
        let database = Database::builder().set_cache_size(0).create_with_backend(InMemoryBackend::new());
        let database = database.map_err(Failure::from)?;
        prepare(&database, Some(limit))?;
        Ok(EmbeddedStores { database: RwLock::new(Some(database)), path: None, limit: Some(limit) })
    }

    /// The stores of a file, which is made where there is none and locked until this value is dropped. What a call
    /// changed is on disk when the call returns. A file is read whole and checked first: a damaged one is left as it is.
    ///
    /// # Errors
    /// [`OpenError`] if the file cannot be read and written, is damaged, is not a store, or is open elsewhere.
    pub fn file(path: &Path) -> Result<Self, OpenError> {
        Ok(EmbeddedStores { database: RwLock::new(Some(open(path)?)), path: Some(path.to_owned()), limit: None })
    }

    /// Does something with the database. After an error of the disk redb refuses everything until its file is opened
    /// again, so that is done at once, or when the next call comes.
    fn with<T>(&self, mut work: impl FnMut(&Open<'_>) -> Result<T, Failure>) -> Result<T, StoreError> {
        for _ in 0..ATTEMPTS {
            let done = self.database.read().as_ref().map(|database| work(&Open { database, limit: self.limit }));
            match done {
                Some(Ok(done)) => return Ok(done),
                Some(Err(Failure::Store(error))) => return Err(error),
                Some(Err(Failure::Disk(error))) => {
                    tracing::error!(%error, "a store's disk failed; the call that met it fails");
                    // A failure to open the file is the next call's.
                    let _ = self.open_again();
                    return Err(StoreError::Unknown(error));
                }
                // The call of another thread met the error.
                Some(Err(Failure::Closed)) | None => self.open_again()?,
            }
        }
        Err(StoreError::Unknown(format!("the disk failed {ATTEMPTS} times in a row")))
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut database = self.database.write();
        // Its lock on the file has to go first.
        *database = None;
        let opened = open(path).map_err(|error| StoreError::Unknown(error.to_string()))?;
        *database = Some(opened);
        Ok(())
    }
}

fn open(path: &Path) -> Result<Database, OpenError> {
    let failed = |reason: String| OpenError { path: path.to_owned(), reason };
    if fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        check(path).map_err(failed)?;
    }
    let database = Database::builder().set_cache_size(CACHE).create(path);
    let database = database.map_err(|error| failed(why_not_opened(error)))?;
    prepare(&database, None).map_err(|error| failed(StoreError::from(error).to_string()))?;
    Ok(database)
}

/// Checks all pages of a file, and changes nothing of it.
fn check(path: &Path) -> Result<(), String> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(|error| error.to_string())?;
    let trial = FileBackend::new(file).map_err(why_not_opened)?;
    let trial = Trial::new(trial).map_err(|error| error.to_string())?;
    let checked = caught(|| {
        let mut database = Database::builder().set_cache_size(CACHE).create_with_backend(trial)?;
        let found = match database.check_integrity() {
            Ok(true) => return Ok(()),
            Ok(false) => "its pages do not belong together".to_owned(),
            Err(error) => error.to_string(),
        };
        // The database is dropped while this unwinds, when it leaves its pages alone: they could have it panic again.
        resume_unwind(Box::new(found))
    });
    checked.map_err(|why| damaged(&why))?.map_err(why_not_opened)
}

fn why_not_opened(error: DatabaseError) -> String {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            "another process has it open; stop that process or name another file".to_owned()
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            "it is not a store; name another file".to_owned()
        }
        DatabaseError::Storage(StorageError::Io(error)) => error.to_string(),
        DatabaseError::Storage(StorageError::Corrupted(why)) => damaged(&why),
        other => format!("{other}; restore it or name another file"),
    }
}

/// What an operator is told of a damaged file. `why` is for the log: it is the database's own text, or that of its panic.
fn damaged(why: &str) -> String {
    tracing::debug!(why, "a store is damaged");
    "it is damaged: the check of its pages failed; restore it from a copy or name another file".to_owned()
}

/// Makes the tables, so that to read them never fails for want of one.
fn prepare(database: &Database, limit: Option<u64>) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    let empty = transaction.list_tables()?.next().is_none();
    let mut tables = Tables::open(&transaction, limit)?;
    let format = tables.number(FORMAT)?;
    match (empty, format) {
        (true, _) => tables.meta.insert(FORMAT, 1)?,
        (false, 1) => return Ok(()),
        (false, _) => {
            let what = "it is a database of something else; name another file";
            return Err(Failure::Store(StoreError::Unknown(what.to_owned())));
        }
    };
    drop(tables);
    Ok(transaction.commit()?)
}

/// A database that is open.
struct Open<'d> {
    database: &'d Database,
    limit: Option<u64>,
}

impl Open<'_> {
    /// Reads one state of all, whatever is written at the same time.
    fn read(&self, store: &str) -> Result<(ReadTransaction, Option<u64>), Failure> {
        let transaction = self.database.begin_read()?;
        let number = transaction.open_table(STORES)?.get(store)?.map(|number| number.value());
        Ok((transaction, number))
    }

    /// Makes changes that are on disk together, or none of them where one fails.
    fn write<T>(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let transaction = self.database.begin_write()?;
        let done = change(&mut Tables::open(&transaction, self.limit)?)?;
        transaction.commit()?;
        Ok(done)
    }

    fn import(&self, store: &str) -> Result<(), Failure> {
        match self.read(store)? {
            (_, Some(_)) => Ok(()),
            (_, None) => self.write(|tables| tables.make_store(store)),
        }
    }

    fn call(&self, store: &str, call: &StoreCall) -> Result<StoreAnswer, Failure> {
        let (state, number) = self.read(store)?;
        let store = number.ok_or(StoreError::NoSuchStore)?;
        match call {
            StoreCall::Count(criteria) => {
                let mut count = 0;
                each(&state, store, &object("the criteria", criteria)?, |_| {
                    count += 1;
                    Ok(())
                })?;
                Ok(StoreAnswer::Number(count))
            }
            StoreCall::Find(criteria) => {
                let mut found = "[".to_owned();
                each(&state, store, &object("the criteria", criteria)?, |document| {
                    if found.len() + document.len() > MAX_FOUND {
                        let what = format!("the documents that fit have over {MAX_FOUND} bytes; narrow the criteria");
                        return Err(StoreError::Invalid(what).into());
                    }
                    if found.len() > 1 {
                        found.push(',');
                    }
                    found.push_str(document);
                    Ok(())
                })?;
                found.push(']');
                Ok(StoreAnswer::Json(found))
            }
            StoreCall::Has(id) => Ok(StoreAnswer::Number(u32::from(document_of(&state, store, id)?.is_some()))),
            StoreCall::Get(id) => {
                Ok(document_of(&state, store, id)?.map(StoreAnswer::Json).ok_or(StoreError::NoSuchRecord)?)
            }
            StoreCall::Insert(document) => {
                let document = object("the document", document)?;
                self.write(|tables| tables.insert(store, document)).map(StoreAnswer::Json)
            }
            StoreCall::Update(id, members) => {
                name("the id", id)?;
                let members = object("the update", members)?;
                self.write(|tables| tables.update(store, id, members)).map(|()| StoreAnswer::Done)
            }
            StoreCall::Delete(id) => {
                name("the id", id)?;
                self.write(|tables| tables.delete(store, id)).map(|()| StoreAnswer::Done)
            }
            StoreCall::Clear => self.write(|tables| tables.clear(store)).map(|()| StoreAnswer::Done),
        }
    }
}

impl Stores for EmbeddedStores {
    fn import(&self, store: &str) -> Result<(), StoreError> {
        name("the store's name", store)?;
        self.with(|database| database.import(store))
    }

    fn call(&self, store: &str, call: &StoreCall) -> Result<StoreAnswer, StoreError> {
        self.with(|database| database.call(store, call))
    }
}

/// Why something with the database failed.
enum Failure {
    /// The call is invalid.
    Store(StoreError),
    /// The disk failed.
    Disk(String),
    /// An error of the disk came before.
    Closed,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Failure::Closed,
            redb::Error::Io(error) => Failure::Disk(error.to_string()),
            other => Failure::Store(StoreError::Unknown(other.to_string())),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Disk(error) => StoreError::Unknown(error),
            Failure::Closed => StoreError::Unknown("the disk failed before".to_owned()),
        }
    }
}

fn document_of(state: &ReadTransaction, store: u64, id: &str) -> Result<Option<String>, Failure> {
    name("the id", id)?;
    let Some(number) = state.open_table(IDS)?.get((store, id))? else { return Ok(None) };
    let document = state.open_table(DOCUMENTS)?.get((store, number.value()))?;
    Ok(document.map(|document| document.value().to_owned()))
}

fn each(
    state: &ReadTransaction,
    store: u64,
    criteria: &Map<String, Value>,
    mut visit: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for entry in state.open_table(DOCUMENTS)?.range((store, 0)..=(store, u64::MAX))? {
        let (_, document) = entry?;
        if criteria.is_empty() || fits(&stored(document.value())?, criteria) {
            visit(document.value())?;
        }
    }
    Ok(())
}

fn stored(document: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(document).map_err(|error| StoreError::Unknown(format!("a document is damaged: {error}")))
}

/// What one document takes, or with an empty document a store.
fn size(id: &str, document: &str) -> u64 {
    (id.len() + document.len() + OVERHEAD) as u64
}

/// The tables while a transaction changes them.
struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    stores: Table<'t, &'static str, u64>,
    documents: Table<'t, (u64, u64), &'static str>,
    ids: Table<'t, (u64, &'static str), u64>,
    limit: Option<u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, limit: Option<u64>) -> Result<Self, Failure> {
        Ok(Tables {
            meta: transaction.open_table(META)?,
            stores: transaction.open_table(STORES)?,
            documents: transaction.open_table(DOCUMENTS)?,
            ids: transaction.open_table(IDS)?,
            limit,
        })
    }

    fn number(&self, name: &str) -> Result<u64, Failure> {
        Ok(self.meta.get(name)?.map_or(0, |number| number.value()))
    }

    fn next(&mut self) -> Result<u64, Failure> {
        let next = self.number(NEXT)?;
        self.meta.insert(NEXT, next + 1)?;
        Ok(next)
    }

    fn account(&mut self, freed: u64, taken: u64) -> Result<(), Failure> {
        let used = self.number(USED)?.saturating_sub(freed) + taken;
        if let Some(limit) = self.limit.filter(|limit| taken > freed && used > *limit) {
            let what = format!("all stores would hold {used} bytes; the limit in memory is {limit}: delete documents");
            return Err(StoreError::Invalid(what).into());
        }
        self.meta.insert(USED, used)?;
        Ok(())
    }

    fn make_store(&mut self, store: &str) -> Result<(), Failure> {
        // Another instance may have made it since it was looked for.
        if self.stores.get(store)?.is_none() {
            self.account(0, size(store, ""))?;
            let number = self.next()?;
            self.stores.insert(store, number)?;
        }
        Ok(())
    }

    fn insert(&mut self, store: u64, mut document: Map<String, Value>) -> Result<String, Failure> {
        let id = match document.get("id") {
            None => data_encoding::BASE64URL_NOPAD.encode(&rand::random::<[u8; 16]>()),
            Some(Value::String(id)) => id.clone(),
            Some(other) => {
                return Err(StoreError::Invalid(format!("the document's id is {other}, not a string")).into());
            }
        };
        name("the id", &id)?;
        if self.ids.get((store, id.as_str()))?.is_some() {
            let what = format!("the id {id:?} is taken; update its document or choose another id");
            return Err(StoreError::Invalid(what).into());
        }
        document.insert("id".to_owned(), Value::String(id.clone()));
        let document = Value::Object(document).to_string();
        limited("the document", &document)?;
        self.account(0, size(&id, &document))?;
        let number = self.next()?;
        self.ids.insert((store, id.as_str()), number)?;
        self.documents.insert((store, number), document.as_str())?;
        Ok(document)
    }

    fn update(&mut self, store: u64, id: &str, members: Map<String, Value>) -> Result<(), Failure> {
        let number = self.ids.get((store, id))?.ok_or(StoreError::NoSuchRecord)?.value();
        if members.get("id").is_some_and(|member| member != id) {
            let what = format!("the id {id:?} cannot change; insert a document of the other id");
            return Err(StoreError::Invalid(what).into());
        }
        let before = self.documents.get((store, number))?.ok_or(StoreError::NoSuchRecord)?.value().to_owned();
        let mut document = stored(&before)?;
        document.extend(members);
        let after = Value::Object(document).to_string();
        limited("the updated document", &after)?;
        self.account(size(id, &before), size(id, &after))?;
        self.documents.insert((store, number), after.as_str())?;
        Ok(())
    }

    fn delete(&mut self, store: u64, id: &str) -> Result<(), Failure> {
        let number = self.ids.remove((store, id))?.ok_or(StoreError::NoSuchRecord)?.value();
        let freed = self.documents.remove((store, number))?.map_or(0, |document| size(id, document.value()));
        self.account(freed, 0)
    }

    fn clear(&mut self, store: u64) -> Result<(), Failure> {
        let mut freed = 0;
        self.documents.retain_in((store, 0)..=(store, u64::MAX), |_, document| {
            freed += size("", document);
            false
        })?;
        self.ids.retain_in((store, "")..(store + 1, ""), |(_, id), _| {
            freed += id.len() as u64;
            false
        })?;
        self.account(freed, 0)
    }
}
