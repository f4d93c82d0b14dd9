//! Whole backups with item-block actions.

use caravel_cases::each_async;

use super::backups::{back_up_with, holds, replayed, were_called_as_in_velero};

#[test]
fn what_belongs_with_an_item_is_backed_up_as_in_velero() {
    each_async("pkg_backup/TestItemBlockActionRelatedItems.json", async |case| {
        let actions = replayed(case, "itemBlockAction");
        let nothing_runs = super::hooks::none();
        let done = back_up_with(case, case.input("backup"), &[], &actions, nothing_runs).await?;
        holds(case, &done)
    });
}

#[test]
fn item_block_actions_are_asked_of_the_items_that_they_are_asked_of_in_velero() {
    each_async(
        "pkg_backup/TestItemBlockActionsRunForCorrectItems.json",
        async |case| {
            let actions = replayed(case, "itemBlockAction");
            let nothing_runs = super::hooks::none();
            back_up_with(case, case.input("backup"), &[], &actions, nothing_runs).await?;
            were_called_as_in_velero(case, &actions)
        },
    );
}
