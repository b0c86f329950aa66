//! The types of imports and exports, as messages show them.

use wasmtime::{ExternType, ValType};

/// A function's parameters and results, or what else it is.
pub(crate) fn shown(found: &ExternType) -> String {
    match found {
        ExternType::Func(function) => {
            let names = |values: Vec<ValType>| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (takes, gives) = (names(function.params().collect()), names(function.results().collect()));
            if gives.is_empty() { format!("({takes})") } else { format!("({takes}) -> {gives}") }
        }
        ExternType::Global(_) => "a global".to_owned(),
        ExternType::Table(_) => "a table".to_owned(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Tag(_) => "a tag".to_owned(),
    }
}
