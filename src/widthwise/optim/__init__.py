"""Optimizer updates that broadcast over the members of a population. They know no theory."""

from widthwise.optim.member_update import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate, State

__all__ = ["AdamAtan2Update", "AdamUpdate", "MemberUpdate", "SgdUpdate", "State"]
