"""What people say to, about and beside a telecommunications brand, in German and English.

Pure tables. A phrase is a template with slots in braces; ``traffic`` fills them. Phrases of
``NOISE_*`` and ``COMPETITOR`` never name the brand, all others may (``{brand}``) and get the
account or a term added where they do not.

Slots: brand product city days hour minutes number customer speed price competitor.
"""

from typing import Final

Table = dict[str, tuple[str, ...]]

# topic -> phrases, so that a crisis and a topic count have something to hold on to

COMPLAINT: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "de": {
        "outage": (
            "Seit {days} Tagen kein Internet in {city}. Was ist da los?",
            "Schon wieder Totalausfall in {city}, das dritte Mal diesen Monat.",
            "{product} tot, Hotline tot, Geduld tot. Danke für nichts, {brand}.",
            "Seit {hour} Uhr geht hier gar nichts mehr. Homeoffice kann ich vergessen.",
            "Drei Störungsmeldungen, keine Antwort. Ist da überhaupt jemand?",
        ),
        "billing": (
            "Ihr habt mir {price} Euro zu viel abgebucht. Ich will mein Geld zurück!",
            "Gekündigt im Frühjahr, und {brand} bucht munter weiter ab.",
            "Auf meiner Rechnung steht ein Posten über {price} Euro, den niemand erklären kann.",
            "Mahnung bekommen, obwohl längst bezahlt. Unverschämt.",
        ),
        "service": (
            "{minutes} Minuten Warteschleife und dann rausgeflogen. Das ist doch kein Service.",
            "Der Techniker sollte um {hour} Uhr kommen. Niemand kam, niemand rief an.",
            "Zum vierten Mal alles erklärt, zum vierten Mal weiß keiner Bescheid.",
            "Die Hotline von {brand} verspricht Rückrufe, die es nie gibt.",
            "Ich bin seit {number} Jahren Kunde und werde behandelt wie ein Bittsteller.",
        ),
        "speed": (
            "Bezahlt für {speed} MBit, bekommen nicht mal ein Zehntel davon.",
            "Abends bricht die Leitung in {city} auf Schneckentempo zusammen.",
            "{product} ruckelt seit {days} Tagen, so macht das keinen Spaß.",
        ),
        "delivery": (
            "Router bestellt vor {days} Tagen, bis heute nichts angekommen.",
            "Falsches Gerät geliefert, Rücksendung soll ich auch noch selbst zahlen?",
        ),
    },
    "en": {
        "outage": (
            "No internet in {city} for {days} days now. What is going on?",
            "Another complete outage in {city}, third time this month.",
            "{product} is down again and nobody at {brand} seems to care.",
            "Everything went dark at {hour}. I cannot work from home like this.",
        ),
        "billing": (
            "You charged me {price} euros too much. I want my money back!",
            "Cancelled months ago and {brand} still takes money from my account.",
            "Got a reminder for a bill that I paid weeks ago. Outrageous.",
        ),
        "service": (
            "{minutes} minutes on hold and then the line dropped. Terrible service.",
            "Your engineer was due at {hour}. Nobody came and nobody called.",
            "Fourth call, fourth person, same answer: no idea.",
        ),
        "speed": (
            "Paying for {speed} Mbit and getting a tenth of it.",
            "Every evening the line in {city} slows to a crawl.",
        ),
        "delivery": ("Ordered a router {days} days ago, still nothing here.",),
    },
}

PROBLEM: Final[Table] = {
    "de": (
        "Meine Nordbox blinkt rot und startet ständig neu. Was kann ich tun?",
        "Nach dem Update findet die Nordbox das WLAN nicht mehr.",
        "{product} funktioniert seit heute {hour} Uhr nicht, Neustart hilft nicht.",
        "Kein Netz mit dem Handy in {city}, SIM-Karte schon gewechselt.",
        "Beim TV fehlen seit {days} Tagen alle Sender ab Platz {number}.",
        "Ich komme nicht in mein Kundenkonto, Kundennummer {customer}.",
        "Die Rufnummernmitnahme hängt seit {days} Tagen fest, Auftrag {customer}.",
        "Telefonieren geht, aber {product} baut keine Verbindung auf.",
        "Fehlermeldung F{number} beim Anmelden, was bedeutet das?",
    ),
    "en": (
        "My Nordbox keeps blinking red and restarting. What can I do?",
        "Since the update my Nordbox does not find the wifi any more.",
        "{product} stopped working at {hour}, a restart does not help.",
        "No signal on my phone in {city}, already swapped the SIM card.",
        "I cannot log in to my account, customer number {customer}.",
        "Number transfer has been stuck for {days} days, order {customer}.",
        "Error F{number} when signing in, what does it mean?",
    ),
}

QUESTION: Final[Table] = {
    "de": (
        "Gibt es in {city} schon Glasfaser von euch?",
        "Wie lange dauert die Freischaltung von {product}?",
        "Kann ich meine Nordbox beim Umzug nach {city} mitnehmen?",
        "Was kostet {product} nach den ersten {number} Monaten?",
        "Wo finde ich im Kundenkonto die Rechnung vom letzten Monat?",
        "Funktioniert die Nordbox auch mit einem eigenen Telefon?",
        "Bis wann muss ich kündigen, wenn der Vertrag im März endet?",
        "Habt ihr am Wochenende auch Technikertermine?",
        "Ist eSIM bei {brand} ohne Aufpreis dabei?",
    ),
    "en": (
        "Do you already offer fibre in {city}?",
        "How long does it take to activate {product}?",
        "Can I take my Nordbox along when I move to {city}?",
        "What does {product} cost after the first {number} months?",
        "Where do I find last month's bill in my account?",
        "Does {brand} charge extra for an eSIM?",
        "Do you have engineer appointments on Saturdays?",
    ),
}

PRAISE: Final[Table] = {
    "de": (
        "Wow, {brand} hat mein Problem in {minutes} Minuten gelöst. Top!",
        "Der Techniker in {city} war pünktlich, freundlich und schnell. Danke!",
        "Seit dem Wechsel läuft {product} absolut stabil, sehr zufrieden.",
        "Großes Lob an das Team von {brand}, so geht Kundenservice.",
        "Die neue Nordbox ist ein Riesenfortschritt, {speed} MBit im ganzen Haus.",
        "Kurz angerufen, sofort geholfen. Gerne wieder.",
    ),
    "en": (
        "Wow, {brand} fixed my problem in {minutes} minutes. Great!",
        "The engineer in {city} was on time, friendly and quick. Thanks!",
        "{product} has been rock solid since I switched, very happy.",
        "Kudos to the team at {brand}, that is how service works.",
        "The new Nordbox is a huge step up, {speed} Mbit in every room.",
    ),
}

LEAD: Final[Table] = {
    "de": (
        "Wir ziehen nach {city} und suchen einen Anbieter, macht uns ein Angebot!",
        "Überlege von {competitor} zu wechseln. Was zahlt man für {speed} MBit?",
        "Brauche für mein Büro in {city} einen Anschluss mit fester IP, geht das?",
        "Gibt es {product} auch für Studierende günstiger?",
        "Mein Vertrag bei {competitor} läuft aus, was könnt ihr mir anbieten?",
    ),
    "en": (
        "Moving to {city} and looking for a provider, make me an offer!",
        "Thinking of leaving {competitor}. How much is {speed} Mbit with you?",
        "I need a line with a fixed IP for my office in {city}, possible?",
        "Is there a student rate for {product}?",
    ),
}

BRAND_TALK: Final[Table] = {
    "de": (
        "Werbung von {brand} schon wieder ein Ohrwurm, bekomme ihn nicht mehr los.",
        "Im Bus nebenan telefoniert einer lautstark mit der Hotline von {brand}.",
        "{brand} oder {competitor}? Was habt ihr so für Erfahrungen?",
        "Laut Zeitung baut {brand} in {city} aus. Mal sehen.",
        "Hat hier jemand {product} von {brand} und kann berichten?",
        "Heute Vertrag bei {brand} unterschrieben, bin gespannt.",
        "Bei {competitor} war es auch nicht besser als bei {brand}.",
    ),
    "en": (
        "That advert by {brand} is stuck in my head again.",
        "{brand} or {competitor}? What is your experience?",
        "Paper says {brand} is building in {city}. Let us see.",
        "Anyone here using {product} from {brand}?",
        "Signed with {brand} today, curious how it goes.",
        "{competitor} was no better than {brand}, to be fair.",
    ),
}

FOLLOW_UP: Final[Table] = {
    "de": (
        "Ja, seit {hour} Uhr, und der Neustart hat nichts gebracht.",
        "Meine Kundennummer ist {customer}. Bitte dringend prüfen!",
        "Habe ich alles schon probiert, leider ohne Erfolg.",
        "Immer noch nichts, jetzt sind es {days} Tage.",
        "Die Nachricht habe ich euch geschickt, bitte antworten.",
        "Warum dauert das so lange? Ich brauche den Anschluss.",
        "Ich bin in {city}, Postleitzahl folgt per Nachricht.",
    ),
    "en": (
        "Yes, since {hour}, and the restart did not change anything.",
        "My customer number is {customer}. Please check, it is urgent!",
        "I tried all of that already, no luck.",
        "Still nothing, {days} days now.",
        "I sent you the message, please answer.",
    ),
}

THANKS: Final[Table] = {
    "de": (
        "Super, jetzt läuft wieder alles. Vielen Dank!",
        "Danke für die schnelle Hilfe!",
        "Perfekt, das war es. Schönen Abend noch!",
        "Problem gelöst, danke euch.",
    ),
    "en": (
        "Great, everything works again. Thank you!",
        "Thanks for the quick help!",
        "Perfect, that did it. Have a nice evening!",
    ),
}

AGENT_REPLY: Final[Table] = {
    "de": (
        "Hallo, das tut uns leid. Schick uns bitte deine Kundennummer per Nachricht.",
        "Moin, in {city} gibt es eine Störung. Wir arbeiten daran, bis {hour} Uhr sollte es gehen.",
        "Hallo, starte die Nordbox bitte einmal neu und gib uns kurz Bescheid.",
        "Danke für deine Meldung. Wir prüfen die Leitung und melden uns.",
        "Hi, der Betrag von {price} Euro wird mit der nächsten Rechnung gutgeschrieben.",
        "Hallo, einen Termin haben wir am Samstag um {hour} Uhr. Passt das?",
        "Gern! {product} bekommst du in {city} mit bis zu {speed} MBit.",
    ),
    "en": (
        "Hello, we are sorry about that. Please send us your customer number in a message.",
        "Hi, there is a fault in {city}. We are on it and expect to be done by {hour}.",
        "Hello, please restart your Nordbox once and let us know.",
        "Thanks for telling us. We are checking the line and will get back to you.",
        "Hi, the {price} euros will be credited with your next bill.",
        "Sure! {product} is available in {city} with up to {speed} Mbit.",
    ),
}

ANNOUNCEMENT: Final[Table] = {
    "de": (
        "Neu bei {brand}: {product} jetzt mit bis zu {speed} MBit in {city}.",
        "Heute Nacht ab {hour} Uhr warten wir das Netz in {city}. Danke für eure Geduld.",
        "Wir verlosen {number} Nordbox-Geräte. Einfach unter diesem Beitrag antworten!",
        "Unser Shop in {city} hat ab sofort auch samstags geöffnet.",
    ),
    "en": (
        "New at {brand}: {product} with up to {speed} Mbit in {city}.",
        "Tonight from {hour} we maintain the network in {city}. Thanks for your patience.",
        "We are giving away {number} routers. Just answer below this post!",
    ),
}

UNDER_BRAND_POST: Final[Table] = {
    "de": (
        "Und wann kommt ihr endlich nach {city}?",
        "Da bin ich dabei!",
        "Kümmert euch lieber um die Störungen statt um Gewinnspiele.",
        "Klingt gut, was kostet das?",
        "Bei mir kommen nur {speed} MBit an, soviel dazu.",
        "Teilnahme! Drücke mir selbst die Daumen.",
    ),
    "en": (
        "And when will you finally come to {city}?",
        "Count me in!",
        "Fix your outages first, then run raffles.",
        "Sounds good, how much is it?",
    ),
}

QUOTE: Final[Table] = {
    "de": (
        "Genau das erlebe ich mit {brand} auch.",
        "Lest euch das mal durch, typisch {brand}.",
        "Kann ich nicht bestätigen, bei mir läuft {brand} gut.",
    ),
    "en": (
        "Exactly my experience with {brand}.",
        "Read this, so typical for {brand}.",
        "Cannot confirm, {brand} works fine here.",
    ),
}

CRISIS: Final[Table] = {
    "de": (
        "Ganz {city} ohne Netz! {brand}, was ist da los?",
        "Seit {hour} Uhr Totalausfall bei {brand} in {city}. Notruf geht auch nicht!",
        "Netzausfall {city}: Arztpraxis zu, Kasse zu, alles zu. Danke, {brand}.",
        "Keine Info, keine Hotline, kein Netz. {brand} lässt {city} im Dunkeln.",
        "Wieder {brand}, wieder {city}, wieder kein Internet. Es reicht!",
        "Störungskarte von {brand} zeigt grün, und in {city} geht seit Stunden nichts.",
        "Ich will Schadenersatz, {brand}! Laden in {city} seit {hour} Uhr ohne Kartenzahlung.",
    ),
    "en": (
        "All of {city} is offline! {brand}, what is happening?",
        "Total outage at {brand} in {city} since {hour}. Emergency calls fail too!",
        "{city} outage: surgery closed, tills closed, everything closed. Thanks, {brand}.",
        "No news, no hotline, no network. {brand} leaves {city} in the dark.",
        "I want compensation, {brand}! My shop in {city} is dead since {hour}.",
    ),
}

COMPETITOR: Final[Table] = {
    "de": (
        "{competitor} hat mir heute den Anschluss gekappt, einfach so.",
        "Bei {competitor} hängt man auch nur in der Warteschleife.",
        "Bin jetzt bei {competitor} und sehr zufrieden.",
        "Hat {competitor} gerade eine Störung in {city}?",
    ),
    "en": (
        "{competitor} cut my line today, just like that.",
        "On hold with {competitor} for {minutes} minutes now.",
        "Switched to {competitor} and could not be happier.",
    ),
}

NOISE_POST: Final[Table] = {
    "de": (
        "Guten Morgen aus {city}! Erst mal Kaffee.",
        "Was für ein Spiel gestern Abend, Gänsehaut.",
        "Regen, Regen, Regen. Wer hat den Sommer gesehen?",
        "Heute {number} Kilometer gelaufen, die Beine sind Pudding.",
        "Kennt jemand ein gutes Rezept für Kürbissuppe?",
        "Zug nach {city} hat {minutes} Minuten Verspätung, Klassiker.",
        "Neues Buch angefangen, kann es nicht weglegen.",
        "Polarlichter über {city}, unfassbar schön!",
        "Die Katze schläft seit {hour} Uhr auf der Tastatur.",
        "Endlich Wochenende. Wer geht mit aufs Rad?",
    ),
    "en": (
        "Good morning from {city}! Coffee first.",
        "What a match last night, goosebumps.",
        "Rain, rain, rain. Has anyone seen summer?",
        "Ran {number} kilometres today, legs are jelly.",
        "Does anyone have a good recipe for pumpkin soup?",
        "Train to {city} is {minutes} minutes late, classic.",
        "Started a new book and cannot put it down.",
        "Saw the aurora over {city}, unbelievably beautiful!",
        "The cat has been asleep on my keyboard since {hour}.",
    ),
}

NOISE_REPLY: Final[Table] = {
    "de": ("Stimme dir voll zu!", "Haha, sehr gut.", "Bei uns leider auch.", "Viel Erfolg!"),
    "en": ("Totally agree!", "Haha, brilliant.", "Same here, sadly.", "Good luck!"),
}

EDIT: Final[Table] = {
    "de": ("Nachtrag: Tippfehler korrigiert.", "Nachtrag: geht immer noch nicht."),
    "en": ("Edit: fixed a typo.", "Edit: still not working."),
}

TAILS: Final[Table] = {
    "negative": ("", "", "", "", " 😡", " 🙄", " …", " #fail", " :-("),
    "neutral": ("", "", "", "", " 😅", " 🤔", " …", " 👀"),
    "positive": ("", "", "", "", " 👍", " 🙏", " 😊", " ❤️"),
    "none": ("",),
}


def phrase_count() -> int:
    """Count the templates, all languages together."""
    tables: tuple[Table, ...] = (
        PROBLEM,
        QUESTION,
        PRAISE,
        LEAD,
        BRAND_TALK,
        FOLLOW_UP,
        THANKS,
        AGENT_REPLY,
        ANNOUNCEMENT,
        UNDER_BRAND_POST,
        QUOTE,
        CRISIS,
        COMPETITOR,
        NOISE_POST,
        NOISE_REPLY,
        EDIT,
    )
    plain = sum(len(phrases) for table in tables for phrases in table.values())
    return plain + sum(len(p) for topics in COMPLAINT.values() for p in topics.values())
