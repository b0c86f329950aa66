//! Small components in text format, for behaviour that no compiler produces.

/// A component that exports `test:text/NAME` for every name, with this body of `call`.
pub fn component(names: &[&str], body: &str) -> Vec<u8> {
    component_with("", names, body)
}

/// The same, with imports ahead of the rest.
pub fn component_with(imports: &str, names: &[&str], body: &str) -> Vec<u8> {
    let exports: String =
        names.iter().map(|name| format!("(export \"test:text/{name}\" (instance $interface))")).collect();
    wat::parse_str(format!(
        r#"(component
            {imports}
            (core module $m
                (memory (export "memory") 1)
                (data (i32.const 0) "\08\00\00\00\05\00\00\00hello")
                (func (export "call") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $call (result string) (canon lift (core func $i "call") (memory $i "memory")))
            (instance $interface (export "call" (func $call)))
            {exports})"#
    ))
    .expect("the text is a component")
}
