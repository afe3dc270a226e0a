#!/usr/bin/perl
# Compares what was asked of Kconfig with what came out, and says of everything that was dropped or changed why.
#
#     check.pl SOURCE .CONFIG FRAGMENT... LINES
#
# Later files override earlier ones. LINES (the last) holds the wishes of profiles and user: what those turn off may
# take lines of the base with it. For its reasons it reads the Kconfig tree itself, as far as dependencies need it:
# Kconfig has no way to ask. It knows menus, ifs, choices, selects and prompts; it does not run $(shell ...) tests.

use strict;
use warnings;

my ($source, $config, @fragments) = @ARGV;
my $ARCH = $ENV{ARCH} // die "check.pl: ARCH is not set\n";
my %SRCARCH = (x86_64 => 'x86', i386 => 'x86', sparc64 => 'sparc', parisc64 => 'parisc');
my %VALUE = (n => 0, m => 1, y => 2);
my @NAME = ('n', 'm', 'y');

my %value;      # symbol → what .config says
my %symbol;     # symbol → { type, defs: [{ deps: [expr], prompt: [expr] | undef, defaults: [expr], choice }] }
my %selects;    # symbol → [[by whom, condition]]

read_config($config);
read_kconfig('Kconfig', []);

my ($wishes, @problems) = read_fragments(@fragments);
push @problems, map { problem($_) } grep { !granted($_) && !excused($_) }
    sort { $a->{order} <=> $b->{order} } values %$wishes;
if (@problems) {
    print STDERR "error: the kernel config is not what was asked for\n";
    print STDERR "  $_\n" for @problems;
    exit 1;
}

# ---- what was asked for ----------------------------------------------------------------------------------------------

sub read_config {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    while (<$file>) {
        $value{$1} = $2 if /^CONFIG_(\w+)=(.*)$/;
    }
}

# The last wish for each symbol, and the lines that are no wish at all.
sub read_fragments {
    my %wishes;
    my @bad;
    my $order = 0;
    for my $path (@_) {
        my $user = $path eq $_[-1];
        my $name = $user ? 'kernel.config' : $path =~ s{.*/}{}r;
        open my $file, '<', $path or die "$path: $!\n";
        while (my $line = <$file>) {
            $line =~ s/^\s+|\s+$//g;
            my $optional = $line =~ s/\s*# if present$//;
            my $where = $user ? $name : "$name:$.";
            if ($line =~ /^#\s*(?:CONFIG_)?(\w+) is not set$/ or $line =~ /^(?:CONFIG_)?(\w+)=(.*)$/) {
                $wishes{$1} = { name => $1, asked => $2 // 'n', where => $where, user => $user, optional => $optional,
                    order => $order++ };
            } elsif ($line ne '' and $line !~ /^#/) {
                push @bad, "$where: '$line' is not a line of kernel config; write FOO=y";
            }
        }
    }
    return (\%wishes, @bad);
}

sub now { return $value{ $_[0] } // 'n' }

sub granted {
    my ($wish) = @_;
    my $known = $symbol{ $wish->{name} };
    return $wish->{optional} unless $known;
    my ($asked, $now) = ($wish->{asked}, now($wish->{name}));
    return 1 if $asked eq $now;
    # The base is content with more than a module: without MODULES there are none.
    return 1 if !$wish->{user} && $asked eq 'm' && $now eq 'y';
    return 0 if ($known->{type} // '') !~ /^(int|hex)$/;
    return is_number($asked) && is_number($now) && number($asked) == number($now);
}

sub is_number { return $_[0] =~ /^(0x[[:xdigit:]]+|-?\d+)$/ }

sub number { return $_[0] =~ /^0x/ ? hex $_[0] : $_[0] }

# A wish of the base gives way to one of the user that excludes it: another member of the same choice, or something that
# it depends on, over however many steps, and that was turned off.
sub excused {
    my ($wish) = @_;
    my $known = $symbol{ $wish->{name} };
    return 0 if $wish->{user} or !$known;
    for my $def (grep { $_->{choice} } @{ $known->{defs} }) {
        my @others = map { $wishes->{$_} // () } grep { $_ ne $wish->{name} } @{ $def->{choice}{members} };
        return 1 if grep { $_->{user} && $_->{asked} ne 'n' } @others;
    }
    return scalar grep { turned_off($_, 0) } map { names($_) } unmet($wish);
}

sub turned_off {
    my ($name, $depth) = @_;
    my $wish = $wishes->{$name};
    return $wish->{asked} eq now($name) if $wish && $wish->{user};
    return 0 if $depth > 5 or now($name) ne 'n';
    my @needs = $wish ? unmet($wish) : map { @{ $_->{deps} }, @{ $_->{defaults} // [] } } @{ $symbol{$name}{defs} };
    return scalar grep { turned_off($_, $depth + 1) } map { names($_) } @needs;
}

# ---- why it came out different ---------------------------------------------------------------------------------------

sub problem {
    my ($wish) = @_;
    my ($name, $asked) = @$wish{qw(name asked)};
    my $known = $symbol{$name};
    return "$wish->{where}: CONFIG_$name is not a symbol of this kernel" . near($name) unless $known;

    my $now = now($name);
    my $came = $now eq 'n' ? 'not set' : $now;
    my $text = "$wish->{where}: CONFIG_$name=$asked was asked for and came out $came";
    my $type = $known->{type} // 'bool';
    return "$text: it is a string, write it in quotes" if $type eq 'string' && $asked !~ /^".*"$/;
    return "$text: it is a number" if $type =~ /^(int|hex)$/ && !is_number($asked);
    return "$text: it is a bool, y or n" if $type eq 'bool' && $asked !~ /^[yn]$/;
    return "$text: it is a tristate, y, m or n" if $type eq 'tristate' && $asked !~ /^[ymn]$/;

    if ($type =~ /^(bool|tristate)$/ && $VALUE{$asked} < ($VALUE{$now} // 0)) {
        my @by = grep { evaluate($_->[1]) > 0 && $VALUE{ now($_->[0]) } } @{ $selects{$name} // [] };
        return "$text: selected by " . join ', ', map { "$_->[0] (" . now($_->[0]) . ')' } @by if @by;
    }
    my @unmet = unmet($wish);
    return "$text: needs " . join ' && ', map { render($_, @unmet > 1) } @unmet if @unmet;
    unless (grep { $_->{prompt} } @{ $known->{defs} }) {
        my @by = map { $_->[0] } @{ $selects{$name} // [] };
        return "$text: it has no prompt, only other symbols set it" . (@by ? ': ' . few(@by) : '');
    }
    for my $def (@{ $known->{defs} }) {
        my ($taken) = $def->{choice} ? grep { now($_) eq 'y' } @{ $def->{choice}{members} } : ();
        return "$text: the choice that it belongs to fell on $taken" if $taken && $taken ne $name;
    }
    return $text;
}

# What has to be true, and is not, for the wish to come true: the conjuncts of the definition that lacks the fewest.
sub unmet {
    my ($wish) = @_;
    my $want = $VALUE{ $wish->{asked} } // 2;
    return () if $want == 0;
    my $best;
    my @defs = @{ $symbol{ $wish->{name} }{defs} };
    my @prompted = grep { $_->{prompt} } @defs;
    for my $def (@prompted ? @prompted : @defs) {
        my %seen;
        my @lacking = grep { evaluate($_) < $want && !$seen{ render($_) }++ }
            map { conjuncts($_) } @{ $def->{deps} }, @{ $def->{prompt} // [] };
        # A module can depend on modules: m is enough unless y was asked for; a bool is content with m.
        @lacking = grep { evaluate($_) == 0 } @lacking if ($symbol{ $wish->{name} }{type} // '') ne 'tristate';
        $best = \@lacking if !$best || @lacking < @$best;
    }
    return @{ $best // [] };
}

sub few { return join(', ', @_ > 8 ? (@_[0 .. 7], '…') : @_) }

# Names that differ in one or two letters, or that contain the name.
sub near {
    my ($name) = @_;
    my %distance;
    for my $other (keys %symbol) {
        my $difference = abs(length($other) - length $name);
        if ($difference <= 2) {
            my $steps = distance($name, $other);
            $distance{$other} = $steps if $steps <= (length $name < 6 ? 1 : 2);
        } elsif (length $name >= 5 && $difference <= 8 && index($other, $name) >= 0) {
            $distance{$other} = 3 + $difference;
        }
    }
    my @names = sort { $distance{$a} <=> $distance{$b} || $a cmp $b } keys %distance;
    return @names ? '; near it: ' . few(@names) : '';
}

sub distance {
    my @a = split //, $_[0];
    my @b = split //, $_[1];
    my @row = (0 .. @b);
    for my $i (1 .. @a) {
        my @next = ($i);
        for my $j (1 .. @b) {
            my $least = $row[ $j - 1 ] + ($a[ $i - 1 ] ne $b[ $j - 1 ]);
            for my $step ($row[$j] + 1, $next[ $j - 1 ] + 1) { $least = $step if $step < $least }
            push @next, $least;
        }
        @row = @next;
    }
    return $row[-1];
}

# ---- the Kconfig tree ------------------------------------------------------------------------------------------------

# Reads one file and what it sources, below the dependencies of the place that sources it.
sub read_kconfig {
    my ($path, $outer) = @_;
    my @levels = ({ deps => $outer, visible => [] });
    my ($def, $help_indent);
    for my $line (logical_lines("$source/$path")) {
        if (defined $help_indent) {
            next if $line =~ /^\s*$/;
            my $indent = length(($line =~ /^(\s*)/)[0] =~ s/\t/        /gr);
            $help_indent = $indent if $help_indent < 0;
            next if $indent >= $help_indent && $indent > 0;
            undef $help_indent;
        }
        $line =~ s/^\s+|\s+$//g;
        next if $line eq '' or $line =~ /^#/;
        my ($word, $rest) = $line =~ /^(\w+)\s*(.*)$/ or next;
        my $level = $levels[-1];

        if ($word =~ /^(menu)?config$/) {
            $def = { deps => [ @{ $level->{deps} } ], visible => $level->{visible}, choice => $level->{choice} };
            $def->{name} = $rest;
            push @{ $symbol{$rest}{defs} }, $def;
            push @{ $level->{choice}{members} }, $rest if $level->{choice};
        } elsif ($word =~ /^(menu|choice|if|comment)$/) {
            my $choice = $word eq 'choice' ? { members => [] } : $level->{choice};
            my $new = { deps => [ @{ $level->{deps} } ], visible => [ @{ $level->{visible} } ], choice => $choice };
            push @{ $new->{deps} }, parse(uncomment($rest)) if $word eq 'if';
            push @levels, $new unless $word eq 'comment';
            $def = $new;
        } elsif ($word =~ /^end(menu|choice|if)$/) {
            pop @levels;
            $def = undef;
        } elsif ($word =~ /^[ro]?source$/) {
            my $file = $rest =~ s/"//gr;
            $file =~ s/\$\(SRCARCH\)|\$SRCARCH/$SRCARCH{$ARCH} || $ARCH/e;
            $file =~ s/\$\(HEADER_ARCH\)|\$\(srctree\)\///g;
            read_kconfig($file, $level->{deps}) if -e "$source/$file";
        } elsif ($word eq 'help') {
            $help_indent = -1;
        } elsif ($def) {
            attribute($def, $word, $rest);
        }
    }
}

sub attribute {
    my ($def, $word, $rest) = @_;
    $rest = uncomment($rest);
    my $condition = $rest =~ s/\bif\b(?=[^"]*$)(.*)$// && $word ne 'depends' ? parse($1) : ['value', 'y'];
    if ($word eq 'depends' && $rest =~ /^on\s+(.*)$/) {
        push @{ $def->{deps} }, parse($1);
    } elsif ($word eq 'visible' ) {
        push @{ $def->{visible} }, $condition;
    } elsif (defined $def->{name}) {
        my $name = $def->{name};
        if ($word =~ /^(def_)?(bool|tristate|string|int|hex)$/) {
            my ($default, $type) = ($1, $2);
            $symbol{$name}{type} //= $type;
            push @{ $def->{defaults} }, parse($rest), $condition if $default;
            $def->{prompt} = [ $condition, @{ $def->{visible} } ] if !$default && $rest =~ /^["']/;
        } elsif ($word eq 'prompt') {
            $def->{prompt} = [ $condition, @{ $def->{visible} } ];
        } elsif ($word eq 'default') {
            push @{ $def->{defaults} }, parse($rest), $condition;
        } elsif ($word eq 'select') {
            push @{ $selects{ $rest =~ s/\s+$//r } }, [ $name, $condition ];
        }
    }
}

# The lines of a file, those that end in a backslash joined with the next.
sub logical_lines {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    local $/;
    my $text = <$file>;
    $text =~ s/\\\n/ /g;
    return split /\n/, $text;
}

sub uncomment { return $_[0] =~ s/^((?:[^"'#]|"[^"]*"|'[^']*')*)#.*$/$1/r }

# ---- expressions: [and|or, a, b] [not, a] [compare, op, a, b] [value, word] -----------------------------------------

sub parse {
    my @tokens;
    my $text = shift;
    my $operator = qr/&&|\|\||!=|<=|>=|[!=<>()]/;
    my $quoted = qr/"[^"]*"|'[^']*'/;
    my $macro = qr/\$(\((?:[^()]|(?-1))*\))/;
    while ($text =~ /\G\s*(?:($operator)|($quoted)|((?:$macro|[\w.\/-])+))/gc) {
        push @tokens, $1 // $2 // $3;
    }
    return @tokens ? parse_or(\@tokens) : ['value', 'y'];
}

sub parse_or {
    my ($tokens) = @_;
    my $left = parse_and($tokens);
    while (@$tokens && $tokens->[0] eq '||') { shift @$tokens; $left = ['or', $left, parse_and($tokens)] }
    return $left;
}

sub parse_and {
    my ($tokens) = @_;
    my $left = parse_term($tokens);
    while (@$tokens && $tokens->[0] eq '&&') { shift @$tokens; $left = ['and', $left, parse_term($tokens)] }
    return $left;
}

sub parse_term {
    my ($tokens) = @_;
    my $token = shift @$tokens // 'n';
    return ['not', parse_term($tokens)] if $token eq '!';
    if ($token eq '(') {
        my $inner = parse_or($tokens);
        shift @$tokens;
        return $inner;
    }
    return ['compare', shift @$tokens, $token, shift @$tokens] if @$tokens && $tokens->[0] =~ /^(!?=|[<>]=?)$/;
    return ['value', $token];
}

sub evaluate {
    my ($op, @args) = @{ $_[0] };
    if ($op eq 'and') { my ($a, $b) = map { evaluate($_) } @args; return $a < $b ? $a : $b }
    if ($op eq 'or')  { my ($a, $b) = map { evaluate($_) } @args; return $a > $b ? $a : $b }
    return 2 - evaluate($args[0]) if $op eq 'not';
    return 2 * compare(@args) if $op eq 'compare';
    my $word = $args[0];
    # A test that Kconfig runs in the shell: taken for true, since its result is not written down anywhere.
    return 2 if $word =~ /^\$\(/;
    $word =~ s/^["'](.*)["']$/$1/;
    return $VALUE{$word} // $VALUE{ now($word) } // 0;
}

sub compare {
    my ($operator, $left, $right) = @_;
    my ($a, $b) = map { literal($_) } $left, $right;
    my $order = is_number($a) && is_number($b) ? number($a) <=> number($b) : $a cmp $b;
    return { '=' => $order == 0, '!=' => $order != 0, '<' => $order < 0, '>' => $order > 0,
        '<=' => $order <= 0, '>=' => $order >= 0 }->{$operator} ? 1 : 0;
}

sub literal {
    my ($word) = @_;
    return $1 if $word =~ /^["'](.*)["']$/;
    $word =~ s/^\$\((\w+)\)$/$ENV{$1} \/\/ ''/e;
    return $word if $word =~ /^([ymn]|\d.*|)$/ or !$symbol{$word};
    return now($word) =~ s/^"(.*)"$/$1/r;
}

sub conjuncts { my ($e) = @_; return $e->[0] eq 'and' ? map { conjuncts($_) } @$e[1, 2] : $e }

sub names {
    my ($op, @args) = @{ $_[0] };
    return $symbol{ $args[0] } ? $args[0] : () if $op eq 'value';
    return grep { $symbol{$_} } @args[1, 2] if $op eq 'compare';
    return map { names($_) } @args;
}

# An expression in Kconfig's own words, every symbol with its value.
sub render {
    my ($op, @args) = @{ $_[0] };
    my $inner = $_[1];
    return '!' . render($args[0], 1) if $op eq 'not';
    return join " $args[0] ", map { label($_) } @args[1, 2] if $op eq 'compare';
    return label($args[0]) if $op eq 'value';
    my $text = join $op eq 'and' ? ' && ' : ' || ', map { render($_, $args[0][0] ne $op || $_ != $args[0]) } @args;
    return $inner ? "($text)" : $text;
}

sub label {
    my ($word) = @_;
    return $word if $word =~ /^(["'\$]|\d|[ymn]$)/;
    return $symbol{$word} ? "$word (" . now($word) . ')' : "$word (not a symbol of this kernel)";
}
