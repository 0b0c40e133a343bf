//! Pages of lists: where a page starts, how long it is, and how many rows there are in all.

use sea_query::{Alias, Asterisk, Expr, Func, Query, SelectStatement};
use trunkline_core::Fault;

/// Rows of a page when the caller does not say.
pub const LIMIT_DEFAULT: u64 = 10;
/// Most rows of a page.
pub const LIMIT_MAX: u64 = 100;
/// Furthest start of a page. Both databases walk over the rows before it; cursors are for those who go further.
pub const OFFSET_MAX: u64 = 1_000_000;
/// Rows are counted up to here.
pub const TOTAL_MAX: u64 = 10_000;

/// Which rows of a list are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    offset: u64,
    limit: u64,
}

impl Page {
    /// Takes what a caller asked for; what is absent gets its default.
    ///
    /// # Errors
    /// A fault naming `offset` or `limit` when it is out of range.
    pub fn parse(offset: Option<u64>, limit: Option<u64>) -> Result<Self, Fault> {
        let offset = offset.unwrap_or_default();
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if offset > OFFSET_MAX {
            return Err(Fault::invalid("offset", format!("is at most {OFFSET_MAX}")));
        }
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Fault::invalid("limit", format!("is between 1 and {LIMIT_MAX}")));
        }
        Ok(Self { offset, limit })
    }

    /// Rows before the page.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Most rows of the page.
    pub const fn limit(self) -> u64 {
        self.limit
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: LIMIT_DEFAULT,
        }
    }
}

/// How many rows a list has in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The number of rows, at most [`TOTAL_MAX`].
    pub count: u64,
    /// There are more rows than `count`.
    pub is_capped: bool,
}

impl Total {
    /// From the number of rows among the first `TOTAL_MAX + 1`.
    pub(crate) fn of(counted: i64) -> Self {
        let counted = u64::try_from(counted).unwrap_or_default();
        Self {
            count: counted.min(TOTAL_MAX),
            is_capped: counted > TOTAL_MAX,
        }
    }
}

/// The column of [`count`].
pub(crate) const COUNT: &str = "row_count";

/// The query that counts the rows of `statement`, and stops counting after [`TOTAL_MAX`].
pub(crate) fn count(statement: &SelectStatement) -> SelectStatement {
    let mut rows = statement.clone();
    rows.clear_order_by().limit(TOTAL_MAX + 1);
    Query::select()
        .expr_as(Func::count(Expr::col(Asterisk)), Alias::new(COUNT))
        .from_subquery(rows, Alias::new("counted"))
        .take()
}

/// The query for the rows of one page.
pub(crate) fn cut(statement: &SelectStatement, page: Page) -> SelectStatement {
    let mut rows = statement.clone();
    rows.limit(page.limit).offset(page.offset);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_outside_the_limits_is_refused_by_field() {
        assert_eq!(Page::parse(None, None), Ok(Page::default()));
        assert_eq!(Page::parse(Some(0), Some(0)).unwrap_err().fields[0].field, "limit");
        assert_eq!(
            Page::parse(None, Some(LIMIT_MAX + 1)).unwrap_err().fields[0].field,
            "limit"
        );
        assert_eq!(
            Page::parse(Some(OFFSET_MAX + 1), None).unwrap_err().fields[0].field,
            "offset"
        );
    }

    #[test]
    fn a_total_is_exact_up_to_its_cap() {
        assert_eq!(
            Total::of(10_000),
            Total {
                count: TOTAL_MAX,
                is_capped: false
            }
        );
        assert_eq!(
            Total::of(10_001),
            Total {
                count: TOTAL_MAX,
                is_capped: true
            }
        );
    }
}
