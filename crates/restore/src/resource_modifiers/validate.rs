//! What a rule may not say.

use super::document::{JsonPatch, ResourceModifierRule, ResourceModifiers};

/// Of RFC 6902.
const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "test", "move", "copy"];

impl ResourceModifiers {
    /// # Errors
    /// The first thing that is wrong, with the rule.
    pub fn validate(&self) -> Result<(), String> {
        if !self.version.eq_ignore_ascii_case("v1") {
            return Err(format!("unsupported resource modifier version {}", self.version));
        }
        if self.resource_modifier_rules.is_empty() {
            return Err("resource modifier rules cannot be empty".to_owned());
        }
        for (at, rule) in self.resource_modifier_rules.iter().enumerate() {
            rule.validate()
                .map_err(|why| format!("resourceModifierRules[{at}]: {why}"))?;
        }
        Ok(())
    }
}

impl ResourceModifierRule {
    fn validate(&self) -> Result<(), String> {
        if self.conditions.group_resource.is_empty() {
            return Err("conditions.groupResource cannot be empty".to_owned());
        }
        let kinds = [
            self.patches.is_empty(),
            self.merge_patches.is_empty(),
            self.strategic_patches.is_empty(),
        ];
        if kinds.iter().filter(|empty| !**empty).count() > 1 {
            return Err("only one of patches, mergePatches, strategicPatches can be specified".to_owned());
        }
        self.patches.iter().try_for_each(JsonPatch::validate)
    }
}

impl JsonPatch {
    /// # Errors
    /// What is wrong.
    pub fn validate(&self) -> Result<(), String> {
        if self.operation.is_empty() {
            return Err("operation cannot be empty".to_owned());
        }
        if !OPERATIONS.contains(&&*self.operation.to_lowercase()) {
            return Err(format!(
                "unsupported operation {}; it is one of {}",
                self.operation,
                OPERATIONS.join(", ")
            ));
        }
        if self.path.is_empty() {
            return Err("path cannot be empty".to_owned());
        }
        Ok(())
    }
}
