//! The same done to many things, on all processors. Knows nothing of the things.

use crate::error::Result;
use rayon::prelude::*;

/// The number of things from which on several threads are quicker than one.
pub const MANY: usize = 256;

/// What `work` makes of each, in their order.
///
/// # Errors
/// The error of the first item for which `work` fails.
pub fn each<I: Send, T: Send>(items: Vec<I>, work: impl Fn(I) -> Result<T> + Sync + Send) -> Result<Vec<T>> {
    if items.len() < MANY {
        return items.into_iter().map(work).collect();
    }
    // Collected in two steps: of several errors rayon alone would give any, not the first.
    let done: Vec<Result<T>> = items.into_par_iter().with_min_len(MANY / 8).map(work).collect();
    done.into_iter().collect()
}

/// What `look` finds at the first one at which it finds something.
pub fn first<I: Sync, T: Send>(items: &[I], look: impl Fn(&I) -> Option<T> + Sync + Send) -> Option<T> {
    if items.len() < MANY { items.iter().find_map(look) } else { items.par_iter().find_map_first(look) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn of_few_and_of_many_the_order_is_kept_and_the_first_error_wins() {
        for count in [3, MANY * 20] {
            let all: Vec<usize> = (0..count).collect();
            assert_eq!(each(all.clone(), |n| Ok(n + 1)).unwrap(), (1..=count).collect::<Vec<_>>());
            let fail = |n: usize| if n > 0 { Err(Error::input(format!("{n}"))) } else { Ok(n) };
            assert_eq!(each(all.clone(), fail).unwrap_err().to_string(), "1");
            assert_eq!(first(&all, |n| (*n > 1).then_some(*n)), Some(2));
            assert_eq!(first(&all, |n| (*n == count).then_some(*n)), None);
        }
    }
}
