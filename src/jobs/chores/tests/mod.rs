//! The chores over stores, beside everything that devices do meanwhile.

mod facts;
mod house;
mod outside;
mod races;
mod swaying;
