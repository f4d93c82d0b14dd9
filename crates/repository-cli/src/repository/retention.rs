//! How long what is written is locked, in Kopia's flags.

use crate::{
    failure::{Failure, Outcome},
    units,
};

/// The mode that ends it.
const NONE: &str = "none";

/// Object lock, in a bucket that was made with it.
#[derive(Clone, Debug, clap::Args)]
pub struct Retention {
    /// Lock what is written: GOVERNANCE (who may can end it), COMPLIANCE (nobody can), or none.
    #[arg(long, value_name = "MODE")]
    retention_mode: Option<String>,
    /// How long it is locked, as 720h; a day or more.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    retention_period: Option<i64>,
}

impl Retention {
    /// What the flags make of the retention that there is; none where they say nothing new.
    ///
    /// Errors: one flag without the other where there is no retention yet; a mode or a period that there is none of.
    pub fn change(
        &self,
        before: Option<caravel_repository::Retention>,
    ) -> Outcome<Option<Option<caravel_repository::Retention>>> {
        let mode = self.retention_mode.clone();
        if mode.is_none() && self.retention_period.is_none() {
            return Ok(None);
        }
        if mode
            .as_deref()
            .is_some_and(|mode| mode.eq_ignore_ascii_case(NONE))
        {
            return Ok(before.is_some().then_some(None));
        }
        let (mode_before, period_before) = match before.clone() {
            Some(before) => (Some(before.mode), Some(before.period)),
            None => (None, None),
        };
        let both = mode
            .map(|mode| mode.to_ascii_uppercase())
            .or(mode_before)
            .zip(self.retention_period.or(period_before));
        let Some((mode, period)) = both else {
            return Err(Failure::usage(
                "--retention-mode and --retention-period belong together; nothing was changed",
            ));
        };
        let retention = caravel_repository::Retention { mode, period };
        retention.check()?;
        Ok((before.as_ref() != Some(&retention)).then_some(Some(retention)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        mode: Option<&str>,
        hours: Option<i64>,
        before: Option<i64>,
    ) -> Result<Option<Option<(String, i64)>>, ()> {
        const HOUR: i64 = 3_600_000_000_000;
        let flags = Retention {
            retention_mode: mode.map(str::to_owned),
            retention_period: hours.map(|hours| hours * HOUR),
        };
        let before = before.map(|hours| caravel_repository::Retention {
            mode: "GOVERNANCE".to_owned(),
            period: hours * HOUR,
        });
        let changed = flags.change(before).map_err(|_| ())?;
        Ok(changed.map(|retention| retention.map(|it| (it.mode, it.period / HOUR))))
    }

    #[test]
    fn flags_begin_change_and_end_a_retention() {
        let governance = |hours| Ok(Some(Some(("GOVERNANCE".to_owned(), hours))));
        assert_eq!(change(None, None, None), Ok(None));
        assert_eq!(change(Some("governance"), Some(48), None), governance(48));
        assert_eq!(change(None, Some(72), Some(48)), governance(72));
        assert_eq!(change(Some("GOVERNANCE"), Some(48), Some(48)), Ok(None));
        assert_eq!(change(Some("none"), None, Some(48)), Ok(Some(None)));
        assert_eq!(change(Some("none"), None, None), Ok(None));
        for (mode, hours) in [
            (Some("GOVERNANCE"), None),
            (None, Some(48)),
            (Some("forever"), Some(48)),
            (Some("GOVERNANCE"), Some(23)),
        ] {
            assert_eq!(change(mode, hours, None), Err(()), "{mode:?} {hours:?}");
        }
    }
}
