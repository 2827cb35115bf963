"""Hand-made rows of the lexicon. A sense is "name.number" as in WordNet 3.0, number from 1."""


def _names(text: str) -> frozenset[str]:
    return frozenset(name.replace("_", " ") for name in text.split())


CONCRETE_FILES = {"05", "06", "08", "13", "17", "18", "19", "20"}
"""Lexicographer files kept whole: animal artifact body food object person phenomenon plant."""

ALSO_WITH_KINDS = (
    "coin.1 bank_bill.1 money.3 check.1 publication.1 sign.2 poster.1 map.1 letter.1 ticket.1 "
    "card.1 book.1 bouquet.1 herd.1 crowd.1 forest.1 garden.1 farm.1 city.1 town.1 "
    "village.1 park.1 park.2 field.1 playground.2 snow.2 rain.1 sunset.1 cloud.2 "
    "paper.1 wood.1 glass.1 metal.1 water.1 ice.1 sand.1 soil.2 dirt.1 leather.1 fur.1 plastic.1 "
    "stone.2 board.2 jewel.1 wool.1 cotton.1 straw.1 wax.1 smoke.1 dust.1 rubber.1 coal.1 ink.1"
)

THING_FILES = {"05", "06", "13", "20"}
"""A name whose first sense is in these (animal artifact food plant) is not a person as well."""

NOT_PERSONS = _names(
    "adder bellwether bunny butterball canary chameleon cub cuckoo dragon frank fruitcake gadfly "
    "glutton gopher griffon grunter gull hammerhead hog hotdog hydra jackass loggerhead loon "
    "macaroni nag nighthawk ostrich piranha popinjay pussycat quarry quiche ratter sage scorpion "
    "setter shrew shrimp skunk squealer taco tart tiger torpedo vixen wasp watchdog weasel whale "
    "wolverine hot_dog guinea_pig killer_bee man_eater mother_hen pack_rat black_sheep "
    "spring_chicken water_dog water_rat dark_horse"
)
"""Names whose first sense in WordNet is slang for a person."""

TOPS = "animal.1 plant.2 person.1 food.1 food.2"
"""Unique beginners that are useful names; the other ones are too abstract."""

ABSTRACT = (
    "artifact.1 instrumentality.3 commodity.1 consumer_goods.1 durables.1 covering.2 creation.2 "
    "product.2 work.2 structure.1 way.6 surface.1 part.2 component.2 whole.2 natural_object.1 "
    "mechanism.3 article.1 unit.1 unit.2 unit.3 communication.2 message.2 visual_signal.1 "
    "signal.1 indication.1 system.1 facility.1 building_material.1 part.1 portion.1 substance.1 "
    "substance.7 material.1 solid.1 nutriment.1 foodstuff.2 medium.1 section.1 "
    "piece.8 base.8 supporting_structure.1 support.10 component.3 body.8 location.1 region.1 "
    "mixture.1 organism.1 living_thing.1 fluid.1 liquid.1 attachment.4"
)
"""Senses that are dropped with their names; their kinds stay."""

BANNED_NAMES = _names(
    "part piece work thing things object item stuff substance surface support measure element "
    "section unit material component product system body form shape figure point head word "
    "portion relation front back side bottom middle center centre edge corner end area place "
    "spot color colour red green blue white black brown yellow pink purple gray "
    "grey level round left right second number group couple pair kind type set "
    "individual agent constituent ingredient attachment course cover covering shot black_and_white"
)

EDGES = """
mug.4 > cup.1; espresso.1 > cup.1; sunglass.1 > sunglasses.1;
cock.5 > cock.4; hen.2 > hen.1; projectile.1 > missile.1; maillot.2 > maillot.1;
locomotive.1 > train.1; car.2 > train.1; sailing vessel.1 > boat.1;
purse.3 > handbag.1; running shoe.1 > sneaker.1; plate.8 > plate.4; puppy.1 > dog.1;
kitten.1 > domestic cat.1; calf.1 > cattle.1; lamb.1 > sheep.1; foal.1 > horse.1;
piglet.1 > hog.3; television.2 > television receiver.1; notebook.2 > laptop.1;
soccer ball.1 > football.2; rugby ball.1 > football.2; crib.1 > bed.1; cradle.1 > bed.1;
monitor.5 > computer monitor.1; screen.3 > computer monitor.1; Siberian husky.1 > Eskimo dog.1;
toilet seat.1 > toilet.2; bath towel.1 > towel.1; washbasin.2 > sink.1; car mirror.1 > mirror.1;
mailbag.2 > bag.1; backpack.1 > bag.1; handbag.1 > bag.1; suitcase.1 > bag.1;
measuring cup.1 > cup.1; mixing bowl.1 > bowl.1; soup bowl.1 > bowl.1;
hot-air balloon.1 > balloon.1; swimming trunks.1 > shorts.1; comic book.1 > book.2;
book.1 > book.2; crossword puzzle.1 > puzzle.2; grand piano.1 > piano.1; upright.2 > piano.1;
clog.1 > shoe.1; public transport.1 > vehicle.1; motor scooter.1 > motorcycle.1;
goblet.1 > wineglass.1; red wine.1 > wineglass.1
"""
"""Narrower > broader, where pictures and everyday speech agree but WordNet does not."""

CUTS = """
wheeled vehicle.1 > container.1; spoon.1 > container.1; meat loaf.1 > loaf of bread.1
"""
"""Narrower > broader in WordNet, but not in everyday speech."""

NEW_SENSES = """
stop sign, stopsign > street sign.1
potted plant, pot plant > plant.2; houseplant.1 > potted plant
high heels, high heel, high heeled shoe, stiletto heels > shoe.1
"""

SYNONYMS = """
person.1: people, persons, human, human being, pedestrian, passerby
cellular telephone.1: smartphone, smart phone, iphone, handphone
laptop.1: macbook; television receiver.1: tv screen, flatscreen, flat screen tv
computer keyboard.1: pc keyboard; mouse.4: wireless mouse, mouse device
exercise bike.1: stationary bicycle, stationary bike; wineglass.1: wine glass
hand blower.1: hair drier, hair dryer, hairdryer, blowdryer
motorcycle.1: motorbike, motor bike; gym shoe.1: trainers, sneakers
cattle.1: cow, bovine animal; ashcan.1: trash bin, rubbish bin, dustbin, waste bin
remote control.1: tv remote; teddy.1: teddybear, stuffed bear
ball.1: sports ball; baseball glove.1: mitt; refrigerator.1: fridge
microwave.2: microwave oven; traffic light.1: stop light; parking meter.1: meter
sunglasses.1: sun glasses; hotdog.2: hotdog; donut.1: doughnut
jean.1: jeans, blue jeans; running shoe.1: running shoe, trainer
backpack.1: rucksack, bookbag, school bag; computer monitor.1: pc monitor
ear.5: ear of corn; hip.5: rose hip; nipple.2: baby bottle nipple; plane.5: carpenters plane
kite.4: kite bird; crane.5: crane bird; maillot.1: maillot tank suit
swab.2: mop; loudspeaker.1: speaker; crane.4: construction crane
espresso.1: cup of coffee, coffee; electronic equipment.1: electronics; bee.1: honey bee
Frisbee.1: flying disc, flying disk
"""
"""Names added to a sense as one more meaning (its most usual one if the name is new)."""

MEANINGS = """
man woman child boy girl lady guy kid baby toddler adult gentleman teenager player: person.1
bike: bicycle.1
motorbike: motorcycle.1
car auto automobile: car.1
cat kitty pussycat: domestic cat.1
dog doggy doggie: dog.1
puppy pup: dog.1
kitten: domestic cat.1
rabbit bunny: rabbit.1, wood rabbit.1, hare.1, Angora.3
bird: bird.1
horse: horse.1
bear: bear.1
cow cattle: cattle.1
sheep: sheep.1
chicken: chicken.1, chicken.2
mouse: mouse.1, mouse.4
plane: airplane.1, plane.5
fruit: edible fruit.1
bug: insect.1
ball: ball.1
cup: cup.1
glass: drinking glass.1, glass.1
table: table.2, table.3
plate: plate.4
chair: chair.1
bed: bed.1
book: book.2
tie: necktie.1
ear: ear.1
hip: hip.1
arm: arm.1
hand: hand.1
jacket: jacket.1
toy: toy.1
screen: screen.3, monitor.5, television receiver.1
monitor display: monitor.5, computer monitor.1, screen.3
machine: machine.1
plant: plant.2
dress: dress.1
house: house.1
fountain: fountain.1
light: light.2, lamp.1, lamp.2, traffic light.1
sign: sign.2, signboard.1
key: key.1
shell: shell.8
seal: seal.9
wood: wood.1
string: string.1
spring: spring.3
rail: rail.1
engine: engine.1
wheel: wheel.1
phone telephone: telephone.1
camera: camera.1
boat: boat.1
bus: bus.1
train: train.1
truck: truck.1
bar: bar.1
board: board.2, board.5, gameboard.1
top: top.10
robe: robe.1, gown.5
orange: orange.1, orange.3
apple: apple.1
watch: watch.1
coat: coat.1
game: game.9
roll: bun.1
mobile: cellular telephone.1
racer: racer.2
match: match.1
mount: mountain.1
patch: patch.9
possum: opossum.2
killer: killer whale.1
man-eater: great white shark.1
lamp: lamp.1, lamp.2
mushroom: mushroom.1, mushroom.5, agaric.1, fungus.1
pepper: bell pepper.1, pepper.4
corn: corn.1, corn.2, corn.3, ear.5
drink: beverage.1
person: person.1
glasses: spectacles.1, drinking glass.1
ring: ring.8
hot_dog hotdog: hotdog.2, frankfurter.1
corn_dog: frankfurter.1
clothes clothing apparel: clothing.1
computer: personal computer.1, desktop computer.1, portable computer.1
van: van.5
turtle: turtle.2
scooter: scooter.2, scooter.3
stroller: baby buggy.1
ruler: rule.12
"""
"""Which senses a name has for `classes`; all of its WordNet senses stay for `related`."""

COCO = """
person: person.1; bicycle: bicycle.1; car: car.1; motorcycle: motorcycle.1
airplane: airplane.1; bus: bus.1; train: train.1; truck: truck.1
boat: boat.1, ship.1; traffic light: traffic light.1; fire hydrant: fireplug.1
stop sign: stop sign; parking meter: parking meter.1; bench: bench.1; bird: bird.1
cat: domestic cat.1; dog: dog.1; horse: horse.1; sheep: sheep.1; cow: cattle.1
elephant: elephant.1; bear: bear.1; zebra: zebra.1; giraffe: giraffe.1
backpack: backpack.1; umbrella: umbrella.1; handbag: handbag.1, purse.3; tie: necktie.1
suitcase: suitcase.1; frisbee: Frisbee.1; skis: ski.1; snowboard: snowboard.1
sports ball: ball.1; kite: kite.3; baseball bat: baseball bat.1
baseball glove: baseball glove.1; skateboard: skateboard.1; surfboard: surfboard.1
tennis racket: tennis racket.1; bottle: bottle.1; wine glass: wineglass.1
cup: cup.1, mug.4; fork: fork.1; knife: knife.1; spoon: spoon.1; bowl: bowl.1, bowl.3
banana: banana.2; apple: apple.1; sandwich: sandwich.1; orange: orange.1
broccoli: broccoli.2; carrot: carrot.1, carrot.3; hot dog: hotdog.2, frankfurter.1
pizza: pizza.1; donut: donut.1; cake: cake.3; chair: chair.1; couch: sofa.1
potted plant: potted plant; bed: bed.1; dining table: dining table.1, table.2, table.3
toilet: toilet.2; tv: television receiver.1, computer monitor.1; laptop: laptop.1; mouse: mouse.4
remote: remote control.1; keyboard: computer keyboard.1
cell phone: cellular telephone.1; microwave: microwave.2; oven: oven.1
toaster: toaster.2; sink: sink.1; refrigerator: refrigerator.1; book: book.2
clock: clock.1; vase: vase.1; scissors: scissors.1; teddy bear: teddy.1
hair drier: hand blower.1; toothbrush: toothbrush.1
"""

OPENIMAGES = """
bicycle: bicycle.1; boot: boot.1; laptop: laptop.1; person: person.1; chair: chair.1
cattle: cattle.1; desk: desk.1; cat: domestic cat.1; computer mouse: mouse.4
computer monitor: computer monitor.1; box: box.1; mug: mug.4; coffee cup: coffee cup.1
stationary bicycle: exercise bike.1; table: table.2, table.3; bottle: bottle.1
high heels: high heels; vehicle: vehicle.1; footwear: footwear.1, footwear.2; dog: dog.1
book: book.2; camera: camera.1; car: car.1
"""

CLASS_SENSES = {968: "cup.1"}
"""ImageNet classes whose pictures show another sense than their WordNet id (968 is a punch)."""

DISPLAY_NAMES = {
    "imagenet": {
        21: "kite bird",
        680: "baby bottle nipple",
        726: "carpenter's plane",
        989: "rose hip",
        998: "ear of corn",
    }
}
