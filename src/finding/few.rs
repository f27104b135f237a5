//! Some of many names, for a message that stays short whatever was found.

use std::fmt;

/// Names that a message lists at most.
const SHOWN_MAX: usize = 3;

/// The first few of many names, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Few {
    shown: Vec<String>,
    more: u64,
}

impl Few {
    /// Takes in one more name.
    pub fn add(&mut self, name: impl fmt::Display) {
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(name.to_string());
        } else {
            self.more += 1;
        }
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl<T: fmt::Display> FromIterator<T> for Few {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut few = Self::default();
        names.into_iter().for_each(|name| few.add(name));
        few
    }
}

/// `a, b, c and 4 more`
impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join(", "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_names_are_shown_and_the_rest_counted() {
        assert!(Few::default().is_empty());
        assert_eq!(Few::from_iter(["a"]).to_string(), "a");
        assert_eq!(Few::from_iter([1, 2, 3]).to_string(), "1, 2, 3");
        assert_eq!(Few::from_iter('a'..='g').to_string(), "a, b, c and 4 more");
    }
}
