//! The types of the code are those of `interface.varlink`.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::*;

/// Receives the names of the fields, or of the variants, that a type reads.
struct Names(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Names {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0 = fields;
        Err(Error::custom("there is no value"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0 = variants;
        Err(Error::custom("there is no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("neither a struct nor an enum"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

fn names<'de, T: Deserialize<'de>>() -> Vec<String> {
    let mut names = Names(&[]);
    assert!(T::deserialize(&mut names).is_err());
    names.0.iter().map(ToString::to_string).collect()
}

/// The names in the list in parentheses with this number behind `beginning`.
fn described(beginning: &str, number: usize) -> Vec<String> {
    let lines = DESCRIPTION.lines();
    let text: String = lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let (_, behind) = text.split_once(beginning).expect(beginning);
    let list = behind.split('(').nth(number + 1).expect(beginning);
    let list = list.split(')').next().expect(beginning).split(',');
    let names = list.filter_map(|field| field.split(':').next());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn every_type_has_the_fields_that_the_description_has() {
    let (parameters, reply) = (0, 1);
    for (beginning, number, names) in [
        ("type GateState", parameters, names::<GateState>()),
        ("type LeaseEnd", parameters, names::<LeaseEnd>()),
        ("type Lock ", parameters, names::<LockStatus>()),
        ("type Listener", parameters, names::<ListenerStatus>()),
        ("type Upstream", parameters, names::<UpstreamStatus>()),
        ("type Status", parameters, names::<Status>()),
        ("type Connection", parameters, names::<ConnectionStatus>()),
        ("type DrainLengths", parameters, names::<DrainLengths>()),
        ("type Survived", parameters, names::<SurvivalCounts>()),
        ("method GetStatus", reply, names::<StatusReply>()),
        ("method GetMetrics", reply, names::<MetricsReply>()),
        ("method ListConnections", reply, names::<ConnectionReply>()),
        ("method Lock", parameters, names::<LockParameters>()),
        ("method Lock", reply, names::<GateReply>()),
        ("method SetTarget", parameters, names::<TargetParameters>()),
        ("method Switch", parameters, names::<SwitchParameters>()),
        ("method Switch", reply, names::<GateReply>()),
        ("method Monitor", reply, names::<StatusReply>()),
        (
            "method CloseConnection",
            parameters,
            names::<ConnectionParameters>(),
        ),
        ("method HandOver", reply, names::<HandOverReply>()),
        ("type PassedClient", parameters, names::<PassedClient>()),
        ("method Retire", parameters, names::<RetireParameters>()),
        ("method Retire", reply, names::<RetireReply>()),
        (
            "method ConfirmClients",
            parameters,
            names::<ConfirmParameters>(),
        ),
    ] {
        assert_eq!(described(beginning, number), names, "{beginning}");
    }
}

/// It contains another struct, so serde does not know its fields.
#[test]
fn the_reply_of_unlock_has_the_fields_that_the_description_has() {
    let reply = UnlockReply {
        gate: GateReply {
            gate: GateState::Open,
            open: 0,
            queued: 0,
            closed_idle: 1,
            detached: 1,
        },
        record_left: Some("the disk is full".to_owned()),
    };
    let value = serde_json::to_value(reply).unwrap();
    let names: std::collections::BTreeSet<_> = value.as_object().unwrap().keys().cloned().collect();
    let described = described("method Unlock", 1).into_iter().collect();
    assert_eq!(names, described);
}
