//! The arguments of an attribute: `key = "text"`, `key = true`, `key = ["text"]`, `key = [Type]`, `key = Type`.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitBool, LitStr, Result, Token, Type, bracketed, token};

/// All arguments as they were given; each key at most once.
pub(crate) struct Arguments(Vec<(Ident, Value)>);

pub(crate) enum Value {
    Text(LitStr),
    Truth(LitBool),
    List(Vec<Value>),
    Type(Box<Type>),
}

impl Arguments {
    /// Refuses a key that is none of these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        for (key, _) in &self.0 {
            if !known.iter().any(|known| key == known) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Error::new(key.span(), format!("no such argument; there are: {known}")));
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&LitStr>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Text(text))) => Ok(Some(text)),
            Some((key, _)) => Err(Error::new(key.span(), format!("write `{key} = \"…\"`"))),
        }
    }

    pub(crate) fn truth(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Truth(truth))) => Ok(Some(truth.value)),
            Some((key, _)) => Err(Error::new(key.span(), format!("write `{key} = true` or `{key} = false`"))),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&LitStr>>> {
        let Some((key, value)) = self.value(key) else { return Ok(None) };
        let wrong = || Error::new(key.span(), format!("write `{key} = [\"…\"]`"));
        let Value::List(values) = value else { return Err(wrong()) };
        let texts = values.iter().map(|value| match value {
            Value::Text(text) => Ok(text),
            _ => Err(wrong()),
        });
        texts.collect::<Result<_>>().map(Some)
    }

    pub(crate) fn types(&self, key: &str) -> Result<Option<Vec<&Type>>> {
        let Some((key, value)) = self.value(key) else { return Ok(None) };
        let wrong = || Error::new(key.span(), format!("write `{key} = [Type]`"));
        let Value::List(values) = value else { return Err(wrong()) };
        let types = values.iter().map(|value| match value {
            Value::Type(of) => Ok(&**of),
            _ => Err(wrong()),
        });
        types.collect::<Result<_>>().map(Some)
    }

    pub(crate) fn one_type(&self, key: &str) -> Result<Option<&Type>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Type(of))) => Ok(Some(of)),
            Some((key, _)) => Err(Error::new(key.span(), format!("write `{key} = Type`"))),
        }
    }

    fn value(&self, name: &str) -> Option<(&Ident, &Value)> {
        self.0.iter().find(|(key, _)| key == name).map(|(key, value)| (key, value))
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments: Vec<(Ident, Value)> = Vec::new();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if arguments.iter().any(|(earlier, _)| *earlier == key) {
                return Err(Error::new(key.span(), format!("`{key}` stands here twice")));
            }
            input.parse::<Token![=]>()?;
            arguments.push((key, input.parse()?));
            if input.is_empty() {
                break;
            }
            input.parse::<Token![,]>()?;
        }
        Ok(Self(arguments))
    }
}

impl Parse for Value {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return Ok(Self::Text(input.parse()?));
        }
        if input.peek(LitBool) {
            return Ok(Self::Truth(input.parse()?));
        }
        if input.peek(token::Bracket) {
            let list;
            bracketed!(list in input);
            return Ok(Self::List(Punctuated::<Self, Token![,]>::parse_terminated(&list)?.into_iter().collect()));
        }
        Ok(Self::Type(Box::new(input.parse()?)))
    }
}

/// A text with the place to point at when it is wrong: the argument's, or the attribute's where it comes from the package.
pub(crate) struct Located {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Located {
    pub(crate) fn of(argument: Option<&LitStr>, otherwise: impl FnOnce() -> String) -> Self {
        match argument {
            Some(literal) => Self { text: literal.value(), span: literal.span() },
            None => Self { text: otherwise(), span: Span::call_site() },
        }
    }

    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(self.span, message)
    }
}
