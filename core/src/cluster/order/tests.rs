//! Bounds of orders.

use super::*;

#[test]
fn so_many_orders_wait_for_their_answers_at_once() {
    let node = |n: usize| NodeId([u8::try_from(n).unwrap(); 32]);
    let given = GivenOrder { order: Order::Drain, outcome: None, tries: 0, next_at: Mono::default(), hash: [0; 16] };
    let mut orders = Orders::default();
    for n in 0..ORDERS_MAX {
        assert!(orders.may_give(node(n)));
        orders.give(node(n), given.clone());
        assert!(!orders.may_give(node(n)), "it has not answered");
    }
    assert!(!orders.may_give(node(ORDERS_MAX)));
    orders.given.values_mut().take(2).for_each(|given| given.outcome = Some(Ok(())));
    assert!(orders.may_give(node(ORDERS_MAX)));
    orders.give(node(ORDERS_MAX), given);
    assert_eq!(orders.given.len(), ORDERS_MAX - 1, "those that are answered make room");
}

#[test]
fn weights_and_times_have_their_bounds() {
    let fits = |order: Order| order.is_within_bounds();
    assert!(fits(Order::StepDown(STEP_DOWN_SECS_MAX)) && !fits(Order::StepDown(STEP_DOWN_SECS_MAX + 1)));
    assert!(fits(Order::Weight(Some(1000))) && !fits(Order::Weight(Some(1001))) && !fits(Order::Weight(Some(0))));
}
