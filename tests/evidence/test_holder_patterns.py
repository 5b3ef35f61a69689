"""The table of ways to be held: for each the exact path that a report names."""

import gc

import holder_patterns as ways
import pytest
from holder_looks import find

PATTERNS = {
    ways.module_dict: "shop.sessions[*]",
    ways.module_dict_word: "shop.handlers['controller']",
    ways.module_variable: "shop.last",
    ways.user_key: "shop.by_name[*]",
    ways.dict_key: "shop.seen.keys()[*]",
    ways.module_list: "shop.items[*]",
    ways.nested_lists: "shop.rows[*][*]",
    ways.module_set: "shop.alive{*}",
    ways.class_attribute: "shop.Registry.entries[*]",
    ways.metaclass_registry: "shop.Meta.registry['plugin']",
    ways.singleton: "shop.Single._instance.item",
    ways.closure: "shop.callback.__closure__['controller']",
    ways.listener_closure: "shop.bus._listeners[*].callback.__closure__['controller']",
    ways.bound_method: "shop.on_event.__self__.item",
    ways.bound_method_of_suspect: "shop.hooks[*].__self__",
    ways.partial_function: "shop.task.args[*]",
    ways.partial_keyword: "shop.task.keywords['sep']",
    ways.default_argument: "shop.handler.__defaults__[*]",
    ways.lru_cache_result: "shop.load.<lru_cache>[*]",
    ways.lru_cache_unbounded: "shop.load.<unbounded lru_cache>[*]",
    ways.lru_cache_on_method: "shop.Model.embed.<lru_cache arguments>[*]",
    ways.cached_property: "shop.page.body",
    ways.exception_traceback: "shop.last_error.__traceback__.<frame exception_traceback.<locals>.fail>.big",
    ways.exception_cause: "shop.last_error.__cause__.payload",
    ways.generator: "shop.streams[*].<generator generator.<locals>.stream>.chunk",
    ways.coroutine: "shop.job.<coroutine coroutine.<locals>.worker>.session",
    ways.async_generator: "shop.source.<async_generator async_generator.<locals>.events>.session",
    ways.thread_local: "shop.local.session",
    ways.context_variable: "<context>['request']",
    ways.stored_context: "shop.context.<context>['request']",
    ways.weak_callback_trap: "shop.reference.__callback__.__self__.item",
    ways.resurrected_by_del: "shop.graveyard[*]",
    ways.event_listener_method: "shop.bus._listeners[*].__self__.item",
    ways.identity_map: "shop.session.identity_map[*]",
    ways.deque_of: "shop.recent[*]",
    ways.queue_of: "shop.jobs.queue[*]",
    ways.default_dict: "shop.groups[*][*]",
    ways.ordered_dict: "shop.order[*]",
    ways.named_tuple: "shop.pairs[*].right",
    ways.slots: "shop.cell.item",
    ways.data_class: "shop.row.value",
    ways.set_from_outside: "shop.box.attached",
    ways.proxy: "shop.proxied.__wrapped__.item",
    ways.ctypes_callback: "shop.native.<internal>.__self__.item",
    ways.property_object: "shop.Shop.size.fget.__closure__['item']",
    ways.weak_key_dictionary: "shop.notes.data[*]",
    ways.linked_list: "shop.head.following…",
    ways.inline_dict_attribute: "shop.box.item[*]",
    ways.static_method_closure: "shop.Tool.run.__func__.__closure__['item']",
    ways.subclassed_list: "shop.basket[*]",
    ways.memory_handler: "shop.handler.buffer[*].args[*]",
    ways.iterator_of: "shop.cursor.<internal>[*]",
}


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda f: f.__name__)
def test_the_exact_path_is_named(pattern, shop):
    gc.collect()
    pattern(shop)
    holding = find()
    assert [group.path for group in holding.groups] == [PATTERNS[pattern]]
    assert holding.complete
    assert holding.note is None
    assert holding.groups[0].fingerprint
    assert holding.groups[0].suspect in holding.groups[0].path
