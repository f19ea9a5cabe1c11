//! Things with ids that are never mistaken for a later thing in the same place.

/// Which thing: its place, and how often that place was used before.
#[derive(Debug)]
pub struct Id<T> {
    index: u32,
    generation: u32,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}
impl<T> Eq for Id<T> {}
impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_u64().hash(state);
    }
}

impl<T> Id<T> {
    /// An id that no thing has.
    pub const NONE: Id<T> = Id { index: u32::MAX, generation: u32::MAX, kind: std::marker::PhantomData };

    /// Its place, for arrays beside the arena.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The id as one number; the top two bits are 0 for every id that was given out.
    pub fn as_u64(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }

    /// The id of a number made by [`Id::as_u64`].
    pub fn from_u64(number: u64) -> Self {
        Id { index: (number >> 32) as u32, generation: number as u32, kind: std::marker::PhantomData }
    }
}

/// Things by id.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(crate) fn insert(&mut self, thing: T) -> Id<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("there are less than 2^30 connections")
        });
        let place = &mut self.places[index as usize];
        place.1 = Some(thing);
        Id { index, generation: place.0, kind: std::marker::PhantomData }
    }

    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        let place = self.places.get_mut(id.index as usize).filter(|place| place.0 == id.generation)?;
        let thing = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(id.index);
        Some(thing)
    }

    #[inline]
    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        match self.places.get(id.index as usize) {
            Some((generation, Some(thing))) if *generation == id.generation => Some(thing),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        match self.places.get_mut(id.index as usize) {
            Some((generation, Some(thing))) if *generation == id.generation => Some(thing),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, thing))| {
            let id = Id { index: index as u32, generation: *generation, kind: std::marker::PhantomData };
            thing.as_ref().map(|thing| (id, thing))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|(_, thing)| thing.as_mut())
    }

    pub(crate) fn iter_mut_with_ids(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, (generation, thing))| {
            let id = Id { index: index as u32, generation: *generation, kind: std::marker::PhantomData };
            thing.as_mut().map(|thing| (id, thing))
        })
    }

    pub(crate) fn ids(&self) -> Vec<Id<T>> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, Id};

    #[test]
    fn an_old_id_does_not_find_the_new_thing() {
        let mut arena = Arena::default();
        let first = arena.insert("a");
        assert_eq!(arena.remove(first), Some("a"));
        let second = arena.insert("b");
        assert_eq!((first.index(), arena.get(first), arena.get(second)), (second.index(), None, Some(&"b")));
        assert_eq!((Id::from_u64(second.as_u64()), arena.len()), (second, 1));
        assert_eq!(arena.remove(first), None);
    }
}
